//! Picks the replica of a workload that is meant. Pure.

/// Returns the replica whose id is `wanted`, or the only one whose id begins with it. The name of
/// the workload, with which every id begins, may be omitted.
pub fn replica(title: &str, name: &str, ids: &[String], wanted: &str) -> Result<String, String> {
    if let Some(id) = ids.iter().find(|id| *id == wanted) {
        return Ok(id.clone());
    }
    let begins = |id: &&String| {
        let own = id
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'));
        id.starts_with(wanted) || own.is_some_and(|own| own.starts_with(wanted))
    };
    let list = |ids: &[&String]| {
        let lines: Vec<String> = ids.iter().map(|id| format!("\n  {id}")).collect();
        lines.concat()
    };
    let matching: Vec<&String> = ids.iter().filter(begins).collect();
    match matching.as_slice() {
        [id] => Ok((*id).clone()),
        [] if ids.is_empty() => Err(format!("{title} has no replicas")),
        [] => Err(format!(
            "{title} has no replica `{wanted}`; there {}:{}",
            if ids.len() == 1 { "is" } else { "are" },
            list(&ids.iter().collect::<Vec<_>>())
        )),
        several => Err(format!(
            "`{wanted}` matches {} replicas of {title}:{}",
            several.len(),
            list(several)
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn replicas_by_the_beginning_of_their_ids() {
        let ids = ["shop-a1x", "shop-a2y", "shop-b3z"].map(str::to_owned);
        for (wanted, id) in [
            ("shop-a1x", "shop-a1x"),
            ("shop-b", "shop-b3z"),
            ("a2", "shop-a2y"),
            ("b3z", "shop-b3z"),
        ] {
            assert_eq!(replica("shop", "shop", &ids, wanted), Ok(id.to_owned()));
        }
        let refused = |wanted| replica("workload/shop", "shop", &ids, wanted).unwrap_err();
        assert_eq!(
            refused("a"),
            "`a` matches 2 replicas of workload/shop:\n  shop-a1x\n  shop-a2y"
        );
        assert_eq!(
            refused("c"),
            "workload/shop has no replica `c`; there are:\n  shop-a1x\n  shop-a2y\n  shop-b3z"
        );
        assert_eq!(
            replica("workload/shop", "shop", &[], "c").unwrap_err(),
            "workload/shop has no replicas"
        );
    }
}
