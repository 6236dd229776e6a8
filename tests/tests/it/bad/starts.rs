//! Processes that cannot start say why in one line, with the flag that helps.

use crate::lab;

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_reported_with_the_flag() {
    let lab = lab();
    let file = lab.write("file", "");
    let below = format!("{file}/data");
    let any = "127.0.0.1:0";
    for data in [&file, &below] {
        for process in [
            &["control", "--listen", any, "--data", data][..],
            &["worker", "--listen", any, "--http", any, "--data", data],
        ] {
            let told = lab.warren(process).await.refused(
                1,
                &[
                    &format!("cannot use {data} as the data directory"),
                    "it is a file, or below one",
                    "name another directory with --data",
                ],
            );
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }
}

#[tokio::test]
async fn an_address_of_another_machine_is_reported_with_the_flag() {
    let lab = lab();
    let data = lab.path("data").display().to_string();
    // Reserved for documentation (RFC 5737): no machine has it.
    let other = "192.0.2.1:7700";
    let any = "127.0.0.1:0";
    for (process, flag) in [
        (
            &["control", "--listen", other, "--insecure"][..],
            "--listen",
        ),
        (&["worker", "--listen", any, "--http", other], "--http"),
    ] {
        let process = [process, &["--data", &data]].concat();
        let told = lab.warren(&process).await;
        let words = ["192.0.2.1 is not an address of this machine", flag];
        let told = told.refused(1, &words);
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test]
async fn an_invalid_log_filter_is_reported() {
    let lab = lab();
    let data = lab.path("data").display().to_string();
    let arguments = ["control", "--listen", "127.0.0.1:0", "--data", &data];
    let mut command = lab.command(&arguments);
    command.env("WARREN_LOG", "warren=loud");
    let mut process = lab.start("control", command);
    assert_eq!(process.ended().await.code(), Some(1));
    let told = process.stderr();
    assert!(
        told.contains("WARREN_LOG=warren=loud is not a filter such as"),
        "{told}"
    );
}
