//! Names of interfaces, and which versions of one are compatible.

use std::{fmt, str::FromStr};

use semver::Version;

/// `namespace:package/interface` with a version or without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    pub namespace: String,
    pub package: String,
    pub interface: String,
    pub version: Option<Version>,
}

/// The text is not the name of an interface of a package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of an interface: it should be like namespace:package/interface@1.2.3"
)]
pub struct InterfaceNameError(String);

impl InterfaceName {
    /// Returns the part of the version that compatible versions share: `1` of 1.2.3, `0.2` of
    /// 0.2.12, `0.0.3` of 0.0.3, and a pre-release as a whole, which is compatible with nothing but
    /// itself. `None` without a version.
    pub fn track(&self) -> Option<String> {
        let version = self.version.as_ref()?;
        let Version {
            major,
            minor,
            patch,
            ..
        } = version;
        Some(match (major, minor) {
            _ if !version.pre.is_empty() => version.to_string(),
            (0, 0) => format!("0.0.{patch}"),
            (0, minor) => format!("0.{minor}"),
            (major, _) => major.to_string(),
        })
    }

    /// Returns the interface without its version.
    pub fn unversioned(&self) -> Self {
        Self {
            version: None,
            ..self.clone()
        }
    }

    /// Returns whether both name one interface, in any version.
    pub fn same_interface(&self, other: &Self) -> bool {
        self.namespace == other.namespace
            && self.package == other.package
            && self.interface == other.interface
    }

    /// Returns whether an import of the one can be linked to an export of the other: both are the
    /// same interface on the same track.
    pub fn links_with(&self, other: &Self) -> bool {
        self.same_interface(other) && same_track(self.version.as_ref(), other.version.as_ref())
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        parse(text).ok_or_else(|| InterfaceNameError(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.namespace, self.package, self.interface)?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

/// Returns whether [`InterfaceName::track`] is the same of both, without writing it: placement
/// compares many.
fn same_track(one: Option<&Version>, other: Option<&Version>) -> bool {
    let (Some(a), Some(b)) = (one, other) else {
        return one == other;
    };
    if !a.pre.is_empty() || !b.pre.is_empty() {
        return a == b;
    }
    let same_minor = || a.minor == b.minor && (a.minor > 0 || a.patch == b.patch);
    a.major == b.major && (a.major > 0 || same_minor())
}

fn parse(text: &str) -> Option<InterfaceName> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(Version::parse(version).ok()?)),
        None => (text, None),
    };
    let (package, interface) = name.split_once('/')?;
    let (namespace, package) = package.split_once(':')?;
    let parts = [namespace, package, interface];
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let [namespace, package, interface] = parts.map(str::to_owned);
    parts.into_iter().all(is_part).then_some(InterfaceName {
        namespace,
        package,
        interface,
        version,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_link_on_the_same_track_alone() {
        let versions = [
            "",
            "@0.0.1",
            "@0.0.2",
            "@0.1.1",
            "@0.1.2",
            "@0.2.1",
            "@0.2.1-rc.1",
            "@0.2.1-rc.2",
            "@0.2.1+a",
            "@0.2.1-rc.1+a",
            "@1.0.0",
            "@1.2.3",
            "@2.0.0",
            "@1.0.0-rc.1",
        ];
        let names = versions.map(|version| format!("a:b/c{version}").parse::<InterfaceName>());
        let names = names.map(Result::unwrap);
        for one in &names {
            for other in &names {
                let same = one.track() == other.track();
                assert_eq!(one.links_with(other), same, "{one} and {other}");
            }
        }
        let elsewhere: InterfaceName = "a:b/d@1.0.0".parse().unwrap();
        assert!(!names.iter().any(|name| name.links_with(&elsewhere)));
    }
}
