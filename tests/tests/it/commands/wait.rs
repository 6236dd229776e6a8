//! Commands that wait for several things within one time.

use warren_tests::{Dev, guest};

use crate::lab;

#[tokio::test]
async fn waiting_for_several_workloads_reports_each_of_them() {
    let lab = lab();
    let never = format!(
        "name: never\n\
         service:\n  \
           component: {}\n  \
           args: [ bind, \"127.0.0.1:9\", --hold ]\n  \
           publish: [ {{ port: 1, listen: \"127.0.0.1:0\" }} ]\n",
        guest("std-net")
    );
    let soon = format!(
        "name: soon\ncomponents: [ {{ name: web, component: {} }} ]\n",
        guest("http-echo")
    );
    let alone = lab.write("soon.yaml", &soon);
    let both = lab.write("both.yaml", format!("{never}---\n{soon}"));
    let dev = Dev::start(&lab, &[]).await;
    let apply = ["apply", "-f", &alone, "--wait"];
    dev.warren(&lab, &apply).await.ok();

    let apply = ["apply", "-f", &both, "--wait", "--timeout", "300ms"];
    let answer = dev.warren(&lab, &apply).await;
    let ready = answer.stdout.clone();
    let told = answer.refused(1, &["workload/never was not ready within 300ms"]);
    assert!(ready.contains("workload/soon ready"), "{ready}");
    assert!(!told.contains("workload/soon"), "{told}");
    // Progress is a line every few seconds, and this was less.
    assert!(told.matches(" of 1 ready").count() <= 1, "{told}");
}
