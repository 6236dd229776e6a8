//! What the service keeps: values of five kinds under byte-string keys, some with a deadline.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Instant;

use indexmap::IndexSet;

pub type Bytes = Vec<u8>;
pub type List = VecDeque<Bytes>;
pub type Hash = HashMap<Bytes, Bytes>;
/// Indexed, because SPOP takes a member at random.
pub type Set = IndexSet<Bytes>;
type Key = Rc<[u8]>;

pub enum Value {
    Bytes(Bytes),
    List(List),
    Hash(Hash),
    Set(Set),
    SortedSet(SortedSet),
}

/// The key holds another kind of value than the command works on.
#[derive(Debug, PartialEq)]
pub struct WrongKind;

struct Entry {
    value: Value,
    deadline: Option<Instant>,
}

/// Time stands still between calls of [`Store::advance`], which removes what has expired. So no
/// method ever meets an expired entry, and an idle service needs no timer.
pub struct Store {
    entries: HashMap<Key, Entry>,
    /// Exactly the entries with a deadline, soonest first.
    deadlines: BTreeSet<(Instant, Key)>,
    now: Instant,
    dice: Dice,
}

// === impl Store ===

impl Store {
    pub fn new(now: Instant) -> Self {
        Self {
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
            now,
            dice: Dice::default(),
        }
    }

    pub fn advance(&mut self, now: Instant) {
        self.now = now;
        while self
            .deadlines
            .first()
            .is_some_and(|(deadline, _)| *deadline <= now)
        {
            if let Some((_, key)) = self.deadlines.pop_first() {
                self.entries.remove(&key);
            }
        }
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn expiring(&self) -> usize {
        self.deadlines.len()
    }

    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(AsRef::as_ref)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.entries.contains_key(key)
    }

    pub fn value(&self, key: &[u8]) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub fn read<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, WrongKind> {
        self.value(key)
            .map(|value| K::of(value).ok_or(WrongKind))
            .transpose()
    }

    /// Puts a value of any kind in the place of whatever was there.
    pub fn insert(&mut self, key: &[u8], value: impl Into<Value>, deadline: Option<Instant>) {
        let value = value.into();
        match self.entries.get_mut(key) {
            Some(entry) => {
                entry.value = value;
                if entry.deadline != deadline {
                    self.set_deadline(key, deadline);
                }
            }
            None => {
                let key = Key::from(key);
                if let Some(deadline) = deadline {
                    self.deadlines.insert((deadline, Rc::clone(&key)));
                }
                self.entries.insert(key, Entry { value, deadline });
            }
        }
    }

    /// Changes a value that is there. One that is empty afterwards is removed.
    pub fn update<K: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut K) -> R,
    ) -> Result<Option<R>, WrongKind> {
        let Some(entry) = self.entries.get_mut(key) else {
            return Ok(None);
        };
        let value = K::of_mut(&mut entry.value).ok_or(WrongKind)?;
        let result = change(value);
        if value.is_spent() {
            self.remove(key);
        }
        Ok(Some(result))
    }

    /// Changes a value, which begins empty if it is not there.
    pub fn upsert<K: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut K) -> R,
    ) -> Result<R, WrongKind> {
        if !self.contains(key) {
            let mut value = K::default();
            let result = change(&mut value);
            if !value.is_spent() {
                self.insert(key, value, None);
            }
            return Ok(result);
        }
        self.update(key, change)?.ok_or(WrongKind)
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        let (key, entry) = self.entries.remove_entry(key)?;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        Some(entry.value)
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.deadlines.clear();
    }

    /// Takes a member out of a set at random, each with the same chance.
    pub fn pop_random(&mut self, key: &[u8]) -> Result<Option<Bytes>, WrongKind> {
        let roll = self.dice.roll();
        let popped = self.update(key, |set: &mut Set| {
            set.swap_remove_index(roll % set.len().max(1))
        })?;
        Ok(popped.flatten())
    }

    /// `None` when the key is not there, `Some(None)` when it never expires.
    pub fn deadline(&self, key: &[u8]) -> Option<Option<Instant>> {
        self.entries.get(key).map(|entry| entry.deadline)
    }

    /// Whether the key is there and so has the new deadline.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<Instant>) -> bool {
        let Some((key, _)) = self.entries.get_key_value(key) else {
            return false;
        };
        let key = Rc::clone(key);
        let Some(entry) = self.entries.get_mut(&key) else {
            return false;
        };
        let old = std::mem::replace(&mut entry.deadline, deadline);
        if let Some(old) = old {
            self.deadlines.remove(&(old, Rc::clone(&key)));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key));
        }
        true
    }
}

// === Kind ===

/// One kind of value, so that the store can be asked for it by its Rust type.
pub trait Kind: Default + Into<Value> {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// Whether the key of such a value is to be removed: Redis knows no empty collections, but
    /// empty strings.
    fn is_spent(&self) -> bool;
}

macro_rules! kind {
    ($kind:ident, $is_spent:expr) => {
        impl Kind for $kind {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$kind(value) = value {
                    Some(value)
                } else {
                    None
                }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$kind(value) = value {
                    Some(value)
                } else {
                    None
                }
            }

            fn is_spent(&self) -> bool {
                $is_spent(self)
            }
        }

        impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$kind(value)
            }
        }
    };
}

kind!(Bytes, |_: &Bytes| false);
kind!(List, List::is_empty);
kind!(Hash, Hash::is_empty);
kind!(Set, Set::is_empty);
kind!(SortedSet, SortedSet::is_empty);

impl Value {
    /// What TYPE answers.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::SortedSet(_) => "zset",
        }
    }
}

// === SortedSet ===

/// Members with a score, ordered by score and then by name.
#[derive(Default)]
pub struct SortedSet {
    scores: HashMap<Key, f64>,
    order: BTreeSet<(Score, Key)>,
}

#[derive(Clone, Copy)]
struct Score(f64);

impl SortedSet {
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Whether the member is new. `score` is a number.
    pub fn insert(&mut self, member: &[u8], score: f64) -> bool {
        let member = Key::from(member);
        let old = self.scores.insert(Rc::clone(&member), score);
        if let Some(old) = old {
            self.order.remove(&(Score(old), Rc::clone(&member)));
        }
        self.order.insert((Score(score), member));
        old.is_none()
    }

    pub fn pop_min(&mut self) -> Option<(Rc<[u8]>, f64)> {
        let (Score(score), member) = self.order.pop_first()?;
        self.scores.remove(&member);
        Some((member, score))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

// === Dice ===

/// Random enough to choose a member: a counter through a keyed hash.
#[derive(Default)]
struct Dice {
    key: RandomState,
    rolls: u64,
}

impl Dice {
    fn roll(&mut self) -> usize {
        self.rolls += 1;
        self.key.hash_one(self.rolls) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_expired_is_gone_once_time_advances() {
        let start = Instant::now();
        let mut store = Store::new(start);
        store.insert(b"stays", Bytes::from("1"), None);
        store.insert(b"short", Bytes::from("2"), Some(start + SECOND));
        store.insert(b"long", Bytes::from("3"), Some(start + 3 * SECOND));
        assert_eq!((store.len(), store.expiring()), (3, 2));

        store.advance(start + SECOND);
        assert_eq!((store.len(), store.expiring()), (2, 1));
        assert_eq!(store.deadline(b"short"), None);
        assert_eq!(store.deadline(b"stays"), Some(None));

        assert!(store.set_deadline(b"long", None));
        assert!(!store.set_deadline(b"short", None));
        store.advance(start + 9 * SECOND);
        assert_eq!((store.len(), store.expiring()), (2, 0));
    }

    #[test]
    fn a_deadline_goes_with_the_value_it_was_set_for() {
        let start = Instant::now();
        let mut store = Store::new(start);
        store.insert(b"key", Bytes::from("old"), Some(start + SECOND));
        store.insert(b"key", Bytes::from("new"), None);
        store.insert(b"gone", Bytes::from("old"), Some(start + SECOND));
        store.remove(b"gone");
        store.insert(b"gone", Bytes::from("again"), None);

        store.advance(start + 2 * SECOND);
        assert_eq!(store.read::<Bytes>(b"key"), Ok(Some(&Bytes::from("new"))));
        assert_eq!(
            store.read::<Bytes>(b"gone"),
            Ok(Some(&Bytes::from("again")))
        );
        assert_eq!(store.expiring(), 0);
    }

    #[test]
    fn kinds_are_kept_apart_and_empty_collections_vanish() {
        let mut store = Store::new(Instant::now());
        assert_eq!(
            store.upsert(b"list", |list: &mut List| list.push_back(Bytes::from("x"))),
            Ok(())
        );
        assert_eq!(store.read::<Bytes>(b"list"), Err(WrongKind));
        assert_eq!(store.upsert(b"list", |_: &mut Set| ()), Err(WrongKind));
        assert_eq!(
            store.update(b"list", List::pop_front),
            Ok(Some(Some(Bytes::from("x"))))
        );
        assert!(!store.contains(b"list"));
        assert_eq!(store.update(b"list", List::pop_front), Ok(None));

        assert_eq!(store.upsert(b"empty", |_: &mut Bytes| ()), Ok(()));
        assert!(store.contains(b"empty"));
    }

    #[test]
    fn random_pops_take_every_member_once() {
        let mut store = Store::new(Instant::now());
        let members: Set = (0..100).map(|n| Bytes::from(n.to_string())).collect();
        store.insert(b"set", members.clone(), None);
        let mut popped = Set::new();
        while let Some(member) = store.pop_random(b"set").unwrap() {
            assert!(popped.insert(member));
        }
        assert_eq!(popped, members);
        assert!(!store.contains(b"set"));
    }

    #[test]
    fn sorted_sets_order_by_score_then_name() {
        let mut set = SortedSet::default();
        assert!(set.insert(b"b", 1.0));
        assert!(set.insert(b"a", 1.0));
        assert!(set.insert(b"c", -1.5));
        assert!(!set.insert(b"c", 2.0));
        let order: Vec<_> = std::iter::from_fn(|| set.pop_min())
            .map(|(member, score)| (member.to_vec(), score))
            .collect();
        assert_eq!(
            order,
            [
                (b"a".to_vec(), 1.0),
                (b"b".to_vec(), 1.0),
                (b"c".to_vec(), 2.0)
            ]
        );
        assert!(set.is_empty());
    }
}
