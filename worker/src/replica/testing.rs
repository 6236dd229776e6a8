//! An assignment as a control plane sends it.

use warren_proto::v1;

pub(crate) fn assignment(replica: &str) -> v1::Assignment {
    let component = format!("sha256:{}", "0".repeat(64));
    v1::Assignment {
        replica: replica.to_owned(),
        namespace: "default".to_owned(),
        workload: "counter".to_owned(),
        workload_uid: "uid".to_owned(),
        revision: 3,
        spec: Some(v1::WorkloadSpec {
            service: Some(v1::Service {
                component,
                ..Default::default()
            }),
            ..Default::default()
        }),
        restarts: 0,
        fence: 0,
        link_plan: None,
    }
}
