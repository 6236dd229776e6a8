//! Orders components by their imports, and finds circles among them.

use std::collections::BTreeSet;

use super::Link;
use crate::name::Name;

/// The result of a walk along the imports of every component.
pub(super) struct Walked {
    /// The components, each after those that it imports from, as far as there are no circles.
    pub order: Vec<usize>,
    /// Closed paths of indices: `[0, 2, 0]`.
    pub cycles: Vec<Vec<usize>>,
}

pub(super) fn walk(components: &[(Name, Vec<Link>)]) -> Walked {
    let mut walk = Walk {
        components,
        done: vec![false; components.len()],
        path: Vec::new(),
        found: Walked {
            order: Vec::new(),
            cycles: Vec::new(),
        },
    };
    for start in 0..components.len() {
        walk.visit(start);
    }
    walk.found
}

struct Walk<'a> {
    components: &'a [(Name, Vec<Link>)],
    /// For each component, whether everything that it reaches has been visited.
    done: Vec<bool>,
    path: Vec<usize>,
    found: Walked,
}

impl Walk<'_> {
    /// Visits a component and those that it imports from. The recursion is at most as deep as the
    /// workload has components.
    fn visit(&mut self, at: usize) {
        if self.done[at] {
            return;
        }
        if let Some(start) = self.path.iter().position(|visited| *visited == at) {
            let circle = self.path[start..].iter().copied();
            self.found.cycles.push(circle.chain([at]).collect());
            return;
        }
        self.path.push(at);
        let (_, links) = &self.components[at];
        let position = |link: &Link| {
            self.components
                .iter()
                .position(|(name, _)| *name == link.exporter)
        };
        let exporters: BTreeSet<_> = links.iter().filter_map(position).collect();
        for exporter in exporters {
            self.visit(exporter);
        }
        self.path.pop();
        self.done[at] = true;
        self.found.order.push(at);
    }
}
