//! Value parsers of arguments. An error says what is expected, with an example; clap adds the given
//! value.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use warren_model::{
    admission::Bounds,
    name::{Name, NameError},
    quantity,
};
use warren_worker::HostVolume;

/// Parses a DNS label, as every name in Warren is.
pub fn name(text: &str) -> Result<String, NameError> {
    Name::parse(text).map(|name| name.to_string())
}

/// Parses a whole number within bounds.
pub fn number(bounds: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            let (least, most) = bounds.clone().into_inner();
            let example = 3.clamp(least, most);
            let bounds = match most {
                u32::MAX => format!("of at least {least}"),
                most => format!("from {least} to {most}"),
            };
            format!("write a whole number {bounds}, such as {example}")
        })
    }
}

/// Parses an address to listen on.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse::<u16>() {
            Err(_) if is_number => format!("{port} is not a port: the largest is 65535"),
            Ok(port) if host.is_empty() || host == "localhost" => {
                format!("write an IP address and a port: 127.0.0.1:{port}")
            }
            Ok(port) if host == "*" => {
                format!("write 0.0.0.0:{port} to listen on every address of this machine")
            }
            _ => "write an IP address and a port, such as 127.0.0.1:7700 or [::1]:7700".to_owned(),
        }
    })
}

/// The limits of a listener's connections.
#[derive(Debug, clap::Args)]
pub struct Connections {
    /// Maximum number of connections to each listener; beyond it the connection that has been idle
    /// for longest is closed
    #[arg(
        long, value_name = "N", default_value_t = 10_000,
        value_parser = number(1..=1_000_000), allow_negative_numbers = true
    )]
    max_connections: u32,
    /// Maximum number of connections from one address or IPv6 /64 network [default: a quarter of
    /// --max-connections]
    #[arg(
        long, value_name = "N",
        value_parser = number(1..=1_000_000), allow_negative_numbers = true
    )]
    max_connections_per_peer: Option<u32>,
}

impl Connections {
    pub fn bounds(&self) -> anyhow::Result<Bounds> {
        let bounds = Bounds::of(self.max_connections.try_into()?);
        let per_peer = self.max_connections_per_peer.map(usize::try_from);
        Ok(Bounds {
            per_peer: per_peer.transpose()?.unwrap_or(bounds.per_peer),
            ..bounds
        })
    }
}

/// Parses a duration such as `90s` or `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    quantity::parse_duration(text).map_err(|error| error.to_string())
}

/// Parses an amount of memory such as `512MiB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    quantity::parse_bytes(text).map_err(|error| error.to_string())
}

/// Parses a directory that a worker offers: `NAME=PATH`, or `NAME=PATH:ro` if guests may not write
/// to it.
pub fn volume(text: &str) -> Result<HostVolume, String> {
    let example = "write NAME=PATH or NAME=PATH:ro, such as data=/srv/data";
    let (name, path) = text.split_once('=').ok_or(example)?;
    let name = Name::parse(name).map_err(|error| error.to_string())?;
    let (path, read_only) = match path.strip_suffix(":ro") {
        Some(path) => (path, true),
        None => (path, false),
    };
    if path.is_empty() {
        return Err(example.to_owned());
    }
    Ok(HostVolume {
        name,
        path: path.into(),
        read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_about_numbers_say_what_is_expected() {
        let replicas = number(0..=1000);
        assert_eq!(replicas("1000"), Ok(1000));
        for wrong in ["two", "-1", "1001", "1.5", "", "99999999999999999999"] {
            let expected = "write a whole number from 0 to 1000, such as 3".to_owned();
            assert_eq!(replicas(wrong), Err(expected), "{wrong}");
        }
        let revision = number(1..=u32::MAX);
        assert_eq!(revision("4294967295"), Ok(u32::MAX));
        let expected = "write a whole number of at least 1, such as 3".to_owned();
        assert_eq!(revision("0"), Err(expected));
    }

    #[test]
    fn errors_about_addresses_say_how_to_write_them() {
        assert_eq!(
            address("[::1]:0"),
            Ok(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)))
        );
        for (text, part) in [
            ("7700", "a port: 127.0.0.1:7700"),
            (":7700", "a port: 127.0.0.1:7700"),
            ("localhost:80", "a port: 127.0.0.1:80"),
            ("*:80", "write 0.0.0.0:80"),
            ("127.0.0.1:70000", "70000 is not a port"),
            ("127.0.0.1", "such as 127.0.0.1:7700"),
            ("example.com:80", "such as 127.0.0.1:7700"),
            ("http://127.0.0.1:80", "such as 127.0.0.1:7700"),
            ("", "such as 127.0.0.1:7700"),
        ] {
            let error = address(text).err().unwrap_or_default();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn volumes() {
        let read =
            |text| volume(text).map(|read| (read.name.to_string(), read.path, read.read_only));
        assert_eq!(
            read("data=/srv/data"),
            Ok(("data".into(), "/srv/data".into(), false))
        );
        assert_eq!(
            read("certs=./certs:ro"),
            Ok(("certs".into(), "./certs".into(), true))
        );
        for wrong in ["data", "data=", "data=:ro", "=/srv", "No Name=/srv"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
