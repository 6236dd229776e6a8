//! Valid specs of every kind, and what must hold for all of them.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, num::NonZeroU16};

use proptest::prelude::*;

use crate::{
    digest::Digest,
    egress::EgressRule,
    host_port::{HostPort, Transport},
    spec::*,
};

fn durations(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..=to).prop_map(Duration::from_millis)
}

fn ports() -> impl Strategy<Value = NonZeroU16> {
    (1_u16..).prop_map(|port| NonZeroU16::new(port).unwrap())
}

fn names() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9]{0,4}".prop_map(|text| Name::parse(&text).unwrap())
}

fn env() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[^=\0]{1,8}", "[^\0]{0,8}", 0..4)
}

fn label_maps() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("([a-z]{1,3}/)?[a-z]{1,5}", "([a-zA-Z0-9]{1,8})?", 0..3)
}

fn egress() -> impl Strategy<Value = Vec<EgressRule>> {
    let rule = "([a-z]{1,5}\\.){0,2}[a-z]{1,5}:[1-9][0-9]{0,3}|10\\.[1-9]\\.0\\.0/16:\\*";
    prop::collection::vec(
        rule.prop_map(|text| EgressRule::parse(&text).unwrap()),
        0..4,
    )
}

fn checks() -> impl Strategy<Value = ProbeCheck> {
    prop_oneof![
        ports().prop_map(|port| ProbeCheck::Tcp { port }),
        (ports(), "/[a-z/?=&:%]{0,8}").prop_map(|(port, path)| ProbeCheck::Http { port, path }),
        (ports(), "([a-z.]{0,8}|[^\0]{0,4})")
            .prop_map(|(port, service)| ProbeCheck::Grpc { port, service }),
    ]
}

fn service_routes() -> impl Strategy<Value = Vec<ServiceRoute>> {
    let protocol = prop_oneof![Just(RouteProtocol::Http1), Just(RouteProtocol::H2c)];
    let paths = prop::collection::btree_map("(/[a-z]{1,3}){1,3}|/", (ports(), protocol), 0..3);
    paths.prop_map(|paths| {
        let routes = paths.into_iter().map(|(path, (port, protocol))| {
            let route = Route::parse("service.localhost", &path).unwrap();
            ServiceRoute {
                route,
                port,
                protocol,
            }
        });
        routes.collect()
    })
}

fn volumes() -> impl Strategy<Value = Vec<Volume>> {
    let source = prop_oneof![
        (4_u64 << 10..=16 << 40, 1_u32..=10_000_000).prop_map(|(size_limit, inodes)| {
            VolumeSource::EmptyDir(EmptyDir { size_limit, inodes })
        }),
        names().prop_map(VolumeSource::Host)
    ];
    prop::collection::btree_map("[a-z]{1,4}", source, 0..4).prop_map(|volumes| {
        let volumes = volumes.into_iter().map(|(name, source)| {
            let name = Name::parse(&name).unwrap();
            Volume { name, source }
        });
        volumes.collect()
    })
}

prop_compose! {
    fn any_probe(max_successes: u32)(
        check in checks(),
        interval in durations(10, 3_600_000),
        timeout in durations(1, 3_600_000),
        failure_threshold in 1_u32..=1000,
        success_threshold in 1..=max_successes,
        start_period in durations(0, 3_600_000),
    ) -> Probe {
        Probe { check, interval, timeout, failure_threshold, success_threshold, start_period }
    }
}

fn any_recovery() -> impl Strategy<Value = Recovery> {
    prop_oneof![Just(Recovery::Replace), Just(Recovery::Keep)]
}

prop_compose! {
    fn any_restart()(
        restart in prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)],
        initial_backoff in durations(1, 3_600_000),
        longer in durations(0, 3_600_000),
        reset_after in durations(0, 86_400_000),
        max_restarts: u32,
        window in durations(1000, 86_400_000),
        (on_failed, on_lost) in (any_recovery(), any_recovery()),
    ) -> RestartPolicy {
        let max_backoff = longer.max(initial_backoff);
        RestartPolicy { restart, initial_backoff, max_backoff, reset_after, max_restarts, window, on_failed, on_lost }
    }
}

prop_compose! {
    fn any_service()(
        (bytes, args) in (any::<[u8; 8]>(), prop::collection::vec("[^\0]{0,8}", 0..4)),
        env in env(),
        config in env(),
        restart in any_restart(),
        published in prop::collection::vec((ports(), any::<bool>()), 0..4),
        routes in service_routes(),
        egress in egress(),
        readiness in prop::option::of(any_probe(1000)),
        liveness in prop::option::of(any_probe(1)),
        (memory_bytes, reserve_bytes) in memory(),
        cpu_weight in prop_oneof![Just(100_u32), 1_u32..=10_000],
        bodies in bodies(),
        stop_grace in durations(0, 3_600_000),
        exclusive: bool,
    ) -> Service {
        let publish = published
            .into_iter()
            .enumerate()
            .map(|(i, (port, udp))| Publish {
                port,
                listen: HostPort {
                    transport: if udp { Transport::Udp } else { Transport::Tcp },
                    address: SocketAddr::from(([127, 0, 0, u8::try_from(i).unwrap()], port.get())),
                },
            })
            .collect();
        Service {
            component: Digest::of(&bytes),
            args,
            env,
            config,
            restart,
            publish,
            routes,
            egress,
            readiness,
            liveness,
            volumes: Vec::new(),
            memory_bytes,
            reserve_bytes,
            cpu_weight,
            bodies,
            stop_grace,
            exclusive,
        }
    }
}

/// A limit and a reserve.
fn memory() -> impl Strategy<Value = (u64, u64)> {
    (64_u64 << 10..=4 << 30).prop_flat_map(|limit| {
        let reserve = prop_oneof![Just(default_reserve(limit)), 16_u64 << 10..=limit];
        (Just(limit), reserve)
    })
}

fn bodies() -> impl Strategy<Value = BodyLimits> {
    let size = || prop::option::of(1_u64..=1 << 40);
    (size(), size()).prop_map(|(request, response)| BodyLimits { request, response })
}

prop_compose! {
    fn any_component()(
        bytes: [u8; 8],
        paths in prop::collection::btree_set("(/[a-z]{1,3}){1,3}", 0..3),
        env in env(),
        config in env(),
        egress in egress(),
        (memory_bytes, reserve_bytes) in memory(),
        timeout in durations(1, 3_600_000),
        concurrency in 1_u32..=1000,
        bodies in bodies(),
        reuse in prop::option::of((1_u32..=1_000_000, 1_u32..=1000)),
    ) -> Component {
        Component {
            name: Name::parse("unnamed").unwrap(),
            component: Digest::of(&bytes),
            routes: paths.iter().map(|path| Route::parse("", path).unwrap()).collect(),
            env,
            config,
            egress,
            memory_bytes,
            reserve_bytes,
            timeout,
            concurrency,
            bodies,
            reuse: reuse.map(|(requests, concurrency)| Reuse { requests, concurrency }),
        }
    }
}

prop_compose! {
    fn any_update()(
        (max_surge, max_unavailable) in (0_u32..=1000, 0_u32..=1000),
        progress_deadline in durations(1000, 86_400_000),
        rollback_on_failure: bool,
        min_ready in durations(0, 3_600_000),
    ) -> Update {
        let max_surge = if max_unavailable == 0 { max_surge.max(1) } else { max_surge };
        Update { max_surge, max_unavailable, progress_deadline, rollback_on_failure, min_ready }
    }
}

prop_compose! {
    pub(crate) fn any_spec()(
        replicas in prop::option::of(0_u32..=1000),
        service in any_service(),
        mut components in prop::collection::vec(any_component(), 0..4),
        volumes in volumes(),
        mounts in prop::collection::btree_map("/([a-z]{1,3}/){0,2}[a-zA-Z._ -]{1,3}x", (any::<prop::sample::Index>(), any::<bool>()), 0..4),
        (labels, spread) in (label_maps(), prop::option::of("[a-z]{1,5}")),
        update in prop_oneof![Just(Update::default()), any_update()],
    ) -> WorkloadSpec {
        for (i, component) in components.iter_mut().enumerate() {
            component.name = Name::parse(&format!("c{i}")).unwrap();
            component.routes.iter_mut().for_each(|route| route.host = Some(format!("h{i}")));
        }
        let mut service: Service = service;
        if !volumes.is_empty() {
            let mounts = mounts.into_iter().map(|(mount_path, (volume, read_only))| VolumeMount {
                name: volume.get(&volumes).name.clone(),
                mount_path,
                read_only,
            });
            service.volumes = mounts.collect();
        }
        let exclusive = service.exclusive;
        WorkloadSpec {
            replicas: replicas.map(|replicas| if exclusive { replicas.min(1) } else { replicas }),
            service: Some(service),
            components,
            volumes,
            placement: Placement { labels, spread },
            update,
        }
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
