//! Pages of lists: a token names the last item of its page, so that writes in the meantime do not
//! move the next one.

use std::{collections::BTreeMap, fmt::Display};

use prost::Message;
use tonic::Status;
use warren_model::digest::Digest;

use super::error;

const DEFAULT_SIZE: u32 = 500;
const MAX_SIZE: u32 = 1000;
/// Below the 4 MiB that gRPC clients take by default.
const MAX_BYTES: usize = 3 * 1024 * 1024;
/// The bytes of the tag and the length of an item.
const FRAMING: usize = 8;
/// The digits of a token that say which list it belongs to.
const MARK: usize = 16;

/// Returns how many items a page holds: the wanted number within bounds, as Google's API design
/// guide (AIP-158) says.
pub(super) fn size(asked: u32) -> usize {
    let size = if asked == 0 {
        DEFAULT_SIZE
    } else {
        asked.min(MAX_SIZE)
    };
    size as usize
}

/// The identity of a list. Its tokens are valid for this list alone, so that no token continues
/// another list.
#[derive(Clone, Debug)]
pub(super) struct Listing(String);

// === impl Listing ===

impl Listing {
    /// Begins with a list of an RPC.
    pub fn new(rpc: &str) -> Self {
        Self(rpc.to_owned())
    }

    /// Narrows the list by a field of the request.
    pub fn about(mut self, field: impl Display) -> Self {
        // No field of a valid request has this character.
        self.0.push_str(&format!("\n{field}"));
        self
    }

    /// Narrows the list by a selector.
    pub fn labelled(self, labels: &BTreeMap<String, String>) -> Self {
        labels.iter().fold(self, |list, (key, value)| {
            list.about(format!("{key}={value}"))
        })
    }

    /// Returns the token after which the next page begins. It is opaque, so that no client makes
    /// one up.
    pub fn token(&self, last: &str) -> String {
        hex::encode(format!("{}{last}", self.mark()))
    }

    /// Returns what a token says; `None` for the first page.
    pub fn after<T>(
        &self,
        token: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = |message| Err(error::invalid_field("page_token", message));
        let decoded = hex::decode(token).ok();
        let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return refused("should be `next_page_token` of the page before");
        };
        let Some(last) = text.strip_prefix(&self.mark()) else {
            return refused(
                "is of another list: send it with the same names and labels as the page before",
            );
        };
        match parse(last) {
            Some(last) => Ok(Some(last)),
            None => refused("should be `next_page_token` of the page before"),
        }
    }

    fn mark(&self) -> String {
        let mut mark = Digest::of(self.0.as_bytes()).hex();
        mark.truncate(MARK);
        mark
    }
}

/// Cuts a list, read with one item more than the page holds, to the page and to what fits into a
/// message. Returns whether more items follow.
pub(super) fn cut<M: Message>(items: &mut Vec<M>, size: usize) -> bool {
    let mut bytes = 0;
    let fitting = items.iter().take_while(|item| {
        let first = bytes == 0;
        bytes += item.encoded_len() + FRAMING;
        first || bytes <= MAX_BYTES
    });
    let keep = size.min(fitting.count());
    let more = items.len() > keep;
    items.truncate(keep);
    more
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back_by_their_list_alone() {
        let parse = |text: &str| Some(text.to_owned());
        let labels = BTreeMap::from([("tier".to_owned(), "a".to_owned())]);
        let list = Listing::new("List").about("default").labelled(&labels);
        assert_eq!(list.after("", parse).unwrap(), None);
        let token = list.token("default/a");
        assert_eq!(
            list.after(&token, parse).unwrap(),
            Some("default/a".to_owned())
        );
        assert!(list.after(&token, |_| None::<()>).is_err());
        for other in [
            Listing::new("List").about("default"),
            Listing::new("List").about("other").labelled(&labels),
            Listing::new("ListReplicas")
                .about("default")
                .labelled(&labels),
        ] {
            assert!(other.after(&token, parse).is_err(), "{other:?}");
        }
        for made_up in ["zz", "ff", &hex::encode("default/a")] {
            assert!(list.after(made_up, parse).is_err(), "{made_up}");
        }
    }

    #[test]
    fn a_page_fits_into_a_message_and_is_never_empty() {
        let large = "x".repeat(MAX_BYTES / 2);
        let mut items = vec![large.clone(), large.clone(), large];
        assert!(cut(&mut items, 10));
        assert_eq!(items.len(), 1);
        let mut items = vec!["x".repeat(MAX_BYTES * 2)];
        assert!(!cut(&mut items, 10));
        let mut items = vec![String::new(); 4];
        assert!(cut(&mut items, 3));
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn sizes_stay_within_bounds() {
        assert_eq!([size(0), size(7), size(9999)], [500, 7, 1000]);
    }
}
