//! Valid specs of every kind, and what must hold for all of them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use crate::spec::*;

fn durations(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..=to).prop_map(Duration::from_millis)
}

fn env() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[^=\0]{1,8}", "[^\0]{0,8}", 0..4)
}

fn egress() -> impl Strategy<Value = Vec<EgressRule>> {
    let rule = "([a-z]{1,5}\\.){0,2}[a-z]{1,5}:[1-9][0-9]{0,3}|10\\.[1-9]\\.0\\.0/16:\\*";
    prop::collection::vec(
        rule.prop_map(|text| EgressRule::parse(&text).unwrap()),
        0..4,
    )
}

prop_compose! {
    fn any_restart()(
        restart in prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)],
        initial_backoff in durations(1, 3_600_000),
        longer in durations(0, 3_600_000),
        reset_after in durations(0, 86_400_000),
        max_restarts: u32,
        window in durations(1000, 86_400_000),
    ) -> RestartPolicy {
        let max_backoff = longer.max(initial_backoff);
        RestartPolicy { restart, initial_backoff, max_backoff, reset_after, max_restarts, window }
    }
}

prop_compose! {
    fn any_service()(
        bytes: [u8; 8],
        args in prop::collection::vec("[^\0]{0,8}", 0..4),
        env in env(),
        restart in any_restart(),
        ports in prop::collection::vec(1_u16.., 0..4),
        egress in egress(),
        memory_bytes in 64_u64 << 10..=4 << 30,
        stop_grace in durations(0, 3_600_000),
    ) -> Service {
        let publish = ports
            .into_iter()
            .enumerate()
            .map(|(i, port)| Publish {
                port: NonZeroU16::new(port).unwrap(),
                listen: SocketAddr::from(([127, 0, 0, u8::try_from(i).unwrap()], port)),
            })
            .collect();
        let component = Digest::of(&bytes);
        Service { component, args, env, restart, publish, egress, memory_bytes, stop_grace }
    }
}

prop_compose! {
    fn any_component()(
        bytes: [u8; 8],
        paths in prop::collection::btree_set("(/[a-z]{1,3}){1,3}", 0..3),
        env in env(),
        egress in egress(),
        memory_bytes in 64_u64 << 10..=4 << 30,
        timeout in durations(1, 3_600_000),
        concurrency in 1_u32..=1000,
    ) -> Component {
        Component {
            name: Name::parse("unnamed").unwrap(),
            component: Digest::of(&bytes),
            routes: paths.iter().map(|path| Route::parse("", path).unwrap()).collect(),
            env,
            egress,
            memory_bytes,
            timeout,
            concurrency,
        }
    }
}

prop_compose! {
    pub(crate) fn any_spec()(
        replicas in prop::option::of(0_u32..=1000),
        service in any_service(),
        mut components in prop::collection::vec(any_component(), 0..4),
    ) -> WorkloadSpec {
        for (i, component) in components.iter_mut().enumerate() {
            component.name = Name::parse(&format!("c{i}")).unwrap();
            component.routes.iter_mut().for_each(|route| route.host = Some(format!("h{i}")));
        }
        WorkloadSpec { replicas, service: Some(service), components }
    }
}

proptest! {
    #[test]
    fn the_canonical_form_reads_back_as_itself(spec in any_spec()) {
        let canonical = spec.to_proto();
        let read = WorkloadSpec::from_proto(&canonical).unwrap();
        prop_assert_eq!(read.to_proto(), canonical);
        prop_assert_eq!(read, spec);
    }
}
