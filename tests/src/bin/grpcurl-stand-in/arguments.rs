//! The command line, as far as it is taken.

use std::{io::Read as _, time::Duration};

use serde_json::{Value, json};

pub struct Arguments {
    /// HOST:PORT.
    pub address: String,
    pub verb: Verb,
    /// The request.
    pub data: Value,
    pub emit_defaults: bool,
    pub max_time: Option<Duration>,
}

pub enum Verb {
    List(Option<String>),
    Describe(String),
    /// `package.Service/Method`.
    Call(String),
}

// === impl Arguments ===

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plaintext = false;
        let mut emit_defaults = false;
        let mut data = json!({});
        let mut max_time = None;
        let mut rest = Vec::new();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "-plaintext" | "--plaintext" => plaintext = true,
                "-emit-defaults" => emit_defaults = true,
                "-max-time" => {
                    let seconds = value()?.parse().map_err(|_| "-max-time wants seconds");
                    max_time = Some(Duration::from_secs_f64(seconds?));
                }
                "-d" => data = request(&value()?)?,
                flag if flag.starts_with('-') => return Err(format!("{flag} is not taken here")),
                _ => rest.push(word),
            }
        }
        if !plaintext {
            return Err("this stand-in speaks -plaintext only".to_owned());
        }
        let mut rest = rest.into_iter();
        let address = rest.next().ok_or("no address")?;
        let verb = match (rest.next().as_deref(), rest.next(), rest.next()) {
            (Some("list"), service, None) => Verb::List(service),
            (Some("describe"), Some(symbol), None) => Verb::Describe(symbol),
            (Some(method), None, None) => Verb::Call(with_slash(method)),
            _ => return Err("wants list, describe SYMBOL or a method".to_owned()),
        };
        Ok(Self {
            address,
            verb,
            data,
            emit_defaults,
            max_time,
        })
    }
}

/// `@` is stdin.
fn request(data: &str) -> Result<Value, String> {
    let mut text = data.to_owned();
    if data == "@" {
        text.clear();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
    }
    serde_json::from_str(&text).map_err(|error| format!("-d: {error}"))
}

/// `package.Service.Method` names a method as well.
fn with_slash(method: &str) -> String {
    match (method.contains('/'), method.rsplit_once('.')) {
        (false, Some((service, method))) => format!("{service}/{method}"),
        _ => method.to_owned(),
    }
}
