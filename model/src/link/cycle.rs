//! Circles among components that import from each other.

use std::collections::BTreeSet;

use super::Link;
use crate::name::Name;

/// The circles that a walk from each component meets, as closed paths of indices: `[0, 2, 0]`.
pub(super) fn find(components: &[(Name, Vec<Link>)]) -> Vec<Vec<usize>> {
    let mut walk = Walk {
        components,
        done: vec![false; components.len()],
        path: Vec::new(),
        cycles: Vec::new(),
    };
    for start in 0..components.len() {
        walk.visit(start);
    }
    walk.cycles
}

struct Walk<'a> {
    components: &'a [(Name, Vec<Link>)],
    /// Everything that can be reached from here was seen.
    done: Vec<bool>,
    path: Vec<usize>,
    cycles: Vec<Vec<usize>>,
}

impl Walk<'_> {
    /// Recursion is as deep as a workload has components.
    fn visit(&mut self, at: usize) {
        if self.done[at] {
            return;
        }
        if let Some(start) = self.path.iter().position(|visited| *visited == at) {
            let circle = self.path[start..].iter().copied();
            self.cycles.push(circle.chain([at]).collect());
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
    }
}
