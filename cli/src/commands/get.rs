//! `warren get`: lists objects, or prints one of them.

pub mod find;
mod tables;
mod watch;

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::anyhow;
use clap::{ValueEnum, error::ErrorKind};
use warren_model::manifest;
use warren_proto::v1;

pub use tables::{route, short_digest};

use self::{
    find::{DigestPrefix, Replicas},
    tables::{Listed, Look},
    watch::{Key, Sight, follow, key},
};
use super::{AllNamespaces, connect};
use crate::{
    args::global::Global,
    client::{
        Server,
        requests::{Scope, Selector},
    },
    output::{self, Columns},
    wait::watch::Target,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to list; also in the singular, or as wl, rs, wk and art
    #[arg(value_enum, value_name = "KIND")]
    what: What,
    /// A single object by name; also the beginning of a replica id or digest, or for replicas the
    /// name of a workload
    name: Option<String>,
    #[command(flatten)]
    all: AllNamespaces,
    /// Only objects with these labels; replicas have the labels of their workload
    #[arg(
        short = 'l',
        long,
        value_name = "KEY=VALUE,...",
        conflicts_with = "name"
    )]
    selector: Option<Selector>,
    /// Keep printing changes as they happen
    #[arg(short, long)]
    watch: bool,
    /// Output format [default: a table]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    #[value(aliases = ["workload", "wl"])]
    Workloads,
    #[value(aliases = ["replica", "rs", "rep"])]
    Replicas,
    #[value(aliases = ["worker", "wk"])]
    Workers,
    #[value(aliases = ["artifact", "art"])]
    Artifacts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table with more columns
    Wide,
    /// The protobuf JSON mapping: a list is an array, --watch prints one object per line
    Json,
    /// The same, as YAML
    Yaml,
    /// A manifest for `warren apply`; only for workloads
    Manifest,
    /// Only names, such as `workload/counter`
    Name,
}

/// The result: one object by its name, or a list.
enum Found<T> {
    One(Box<T>),
    Many(Vec<T>),
}

/// Prints what is watched.
struct Screen {
    format: Option<Format>,
    look: Look,
    columns: Columns,
    /// The row of each object as it was last shown, without its age, because growing older is not a
    /// change.
    rows: BTreeMap<Key, Vec<String>>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    args.check()?;
    let server = connect(global).await?;
    let scope = Scope {
        namespace: args.all.or(global)?,
        name: String::new(),
        labels: args.selector.clone().unwrap_or_default(),
    };
    if args.watch {
        return args.watch(server, scope).await;
    }
    let name = args.name.as_deref();
    match args.what {
        What::Workloads => {
            let found = match name {
                Some(name) => Found::one(server.get_workload(&scope.namespace, name).await?),
                None => Found::Many(server.select_workloads(&scope).await?),
            };
            if args.output == Some(Format::Manifest) && !found.items().is_empty() {
                let texts: Vec<String> = found.items().iter().map(manifest::to_yaml).collect();
                return output::write(texts.join("---\n"));
            }
            args.print(&found, &format!("no workloads {}", scope.describe()))
        }
        What::Replicas => {
            let found = match name {
                Some(name) => match find::replicas(&server, &scope.namespace, name).await? {
                    Replicas::One(one) => Found::One(one),
                    Replicas::Of(its) => Found::Many(its),
                },
                None => Found::Many(server.select_replicas(&scope).await?),
            };
            let none = match name {
                Some(name) => format!("workload {name} has no replicas"),
                None => format!("no replicas {}", scope.describe()),
            };
            args.print(&found, &none)
        }
        What::Workers => {
            let found = match name {
                Some(name) => Found::one(server.get_worker(name).await?),
                None => Found::Many(server.select_workers(&scope.labels).await?),
            };
            args.print(&found, &format!("no workers{}", scope.labels.describe()))
        }
        What::Artifacts => {
            let found = match name {
                Some(name) => {
                    let digest: DigestPrefix = name
                        .parse()
                        .map_err(|error| usage(ErrorKind::InvalidValue, error))?;
                    Found::one(find::artifact(&server, &digest).await?)
                }
                None => Found::Many(server.list_artifacts().await?),
            };
            args.print(&found, "no artifacts")
        }
    }
}

fn usage(kind: ErrorKind, message: impl std::fmt::Display) -> anyhow::Error {
    clap::Error::raw(kind, message).into()
}

// === impl Args ===

impl Args {
    /// Fails if the arguments contradict each other.
    fn check(&self) -> anyhow::Result<()> {
        let problem = if self.output == Some(Format::Manifest) && self.what != What::Workloads {
            "only workloads have a manifest: `warren get workloads -o manifest`"
        } else if self.output == Some(Format::Manifest) && self.watch {
            "--watch prints tables, names, json or yaml; omit it for a manifest"
        } else if self.name.is_some() && self.all.all_namespaces {
            "a name is looked up in one namespace: use -n NAMESPACE instead of -A"
        } else if self.what == What::Artifacts && self.watch {
            "artifacts never change and cannot be watched: omit --watch"
        } else if self.what == What::Artifacts && self.selector.is_some() {
            "artifacts have no labels: omit --selector"
        } else {
            return Ok(());
        };
        Err(usage(ErrorKind::ArgumentConflict, problem))
    }

    fn look(&self) -> Look {
        Look {
            everywhere: self.all.all_namespaces,
            wide: self.output == Some(Format::Wide),
            short: output::terminal_width().is_some(),
            now: SystemTime::now(),
        }
    }

    /// Prints the result. `none` is printed on stderr if it is empty.
    fn print<T: Listed>(&self, found: &Found<T>, none: &str) -> anyhow::Result<()> {
        let items = found.items();
        if items.is_empty() {
            output::note(none);
        }
        let data = match self.output {
            Some(Format::Json) => output::Format::Json,
            Some(Format::Yaml) => output::Format::Yaml,
            _ if items.is_empty() => return Ok(()),
            Some(Format::Name) => {
                let names: String = items.iter().map(|item| title(item) + "\n").collect();
                return output::write(names);
            }
            None | Some(Format::Wide | Format::Manifest) => {
                return output::table(&tables::table(items, &self.look()));
            }
        };
        let value = match found {
            Found::One(item) => output::to_value(item.as_ref())?,
            Found::Many(items) => output::to_array(items)?,
        };
        output::value(&value, data)
    }

    async fn watch(&self, server: Server, scope: Scope) -> anyhow::Result<()> {
        let mut screen = Screen::new(self);
        let mut target = Target {
            server,
            namespace: scope.namespace,
            name: scope.name,
            labels: scope.labels.to_map(),
        };
        let name = self.name.as_deref();
        // A misspelled name fails at once instead of waiting for ever.
        match self.what {
            What::Workloads => {
                if let Some(name) = name {
                    target.server.get_workload(&target.namespace, name).await?;
                    name.clone_into(&mut target.name);
                }
                let all = |_: &v1::Workload| true;
                follow(target, all, |sights| screen.show(sights)).await
            }
            What::Replicas => {
                let mut id = None;
                if let Some(name) = name {
                    match find::replicas(&target.server, &target.namespace, name).await? {
                        Replicas::One(one) => {
                            target.name = one.workload;
                            id = Some(one.id);
                        }
                        Replicas::Of(_) => name.clone_into(&mut target.name),
                    }
                }
                let wanted = |replica: &v1::Replica| id.as_ref().is_none_or(|id| *id == replica.id);
                follow(target, wanted, |sights| screen.show(sights)).await
            }
            What::Workers => {
                if let Some(name) = name {
                    target.server.get_worker(name).await?;
                    name.clone_into(&mut target.name);
                }
                let all = |_: &v1::Worker| true;
                follow(target, all, |sights| screen.show(sights)).await
            }
            What::Artifacts => Err(anyhow!("artifacts cannot be watched")),
        }
    }
}

/// Returns a title such as `workload/counter`.
fn title<T: Listed>(item: &T) -> String {
    format!("{}/{}", T::KIND, item.name())
}

// === impl Screen ===

impl Screen {
    fn new(args: &Args) -> Self {
        Self {
            format: args.output,
            look: args.look(),
            columns: Columns::default(),
            rows: BTreeMap::new(),
        }
    }

    fn show<T: Listed>(&mut self, sights: Vec<Sight<T>>) -> anyhow::Result<()> {
        let data = match self.format {
            Some(Format::Json) => output::Format::Json,
            Some(Format::Yaml) => output::Format::Yaml,
            Some(Format::Name) => {
                return sights
                    .iter()
                    .try_for_each(|one| output::line(title(one.item())));
            }
            None | Some(Format::Wide | Format::Manifest) => return self.show_rows(sights),
        };
        sights
            .iter()
            .try_for_each(|one| output::stream_item(&output::to_value(one.item())?, data))
    }

    fn show_rows<T: Listed>(&mut self, sights: Vec<Sight<T>>) -> anyhow::Result<()> {
        self.look.now = SystemTime::now();
        let ageless = Look {
            now: SystemTime::UNIX_EPOCH,
            ..self.look
        };
        let mut table = tables::empty::<T>(&self.look);
        let mut fresh = false;
        for sight in sights {
            let gone = matches!(sight, Sight::Gone(_));
            let item = sight.item();
            let key = key(item);
            let row = item.row(&ageless, gone);
            if self.rows.get(&key) == Some(&row) {
                continue;
            }
            fresh = true;
            table.row(item.row(&self.look, gone));
            if gone {
                self.rows.remove(&key);
            } else {
                self.rows.insert(key, row);
            }
        }
        if fresh {
            output::write(self.columns.next(&table, output::terminal_width()))?;
        }
        Ok(())
    }
}

// === impl Found ===

impl<T> Found<T> {
    fn one(item: T) -> Self {
        Self::One(Box::new(item))
    }

    fn items(&self) -> &[T] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }
}
