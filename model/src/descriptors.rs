//! File descriptors of this process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns how many descriptors the process may have, or `None` if there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// Raises the soft limit of descriptors to the hard one: connections, files and sockets use
/// descriptors, and the usual soft limit of 1,024 exists for programs that use `select`. Returns
/// `None` if it was already as high.
pub fn raise_limit() -> io::Result<Option<Raised>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(None);
    }
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, wanted)?;
    Ok(Some(Raised {
        from: current,
        to: maximum,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let lower = Rlimit {
            current: before.maximum.map(|maximum| maximum / 2),
            ..before
        };
        setrlimit(Resource::Nofile, lower).unwrap();
        let raised = Raised {
            from: lower.current,
            to: before.maximum,
        };
        assert_eq!(raise_limit().unwrap(), Some(raised));
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        assert_eq!(raise_limit().unwrap(), None);
    }
}
