//! JSON values as YAML.

use serde_json::Value;
use yaml_rust2::{Yaml, YamlEmitter};

/// One document, without its `---`.
pub fn to_string(value: &Value) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut emitter = YamlEmitter::new(&mut text);
    emitter.multiline_strings(true);
    emitter.dump(&to_yaml(value))?;
    Ok(text.strip_prefix("---\n").unwrap_or(&text).to_owned())
}

fn to_yaml(value: &Value) -> Yaml {
    match value {
        Value::Null => Yaml::Null,
        Value::Bool(value) => Yaml::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Yaml::Integer(number),
            None => Yaml::Real(number.to_string()),
        },
        Value::String(text) => Yaml::String(text.clone()),
        Value::Array(items) => Yaml::Array(items.iter().map(to_yaml).collect()),
        Value::Object(fields) => Yaml::Hash(
            fields
                .iter()
                .map(|(name, value)| (Yaml::String(name.clone()), to_yaml(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use yaml_rust2::YamlLoader;

    use super::*;

    #[test]
    fn means_the_same() {
        let value = json!({
            "name": "counter", "yes": "yes", "number": "12", "count": 3, "ready": false, "none": null,
            "empty": [], "nothing": {}, "lines": "a\nb: c\n", "colon": "a: b #c", "list": [{"a": 1}, ["x"]],
        });
        let text = to_string(&value).unwrap();
        assert_eq!(
            YamlLoader::load_from_str(&text).unwrap(),
            vec![to_yaml(&value)]
        );
        assert!(text.contains("name: counter\n"), "{text}");
    }
}
