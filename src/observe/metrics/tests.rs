//! What a scrape shows of several cores.

use super::*;

fn cores(count: usize) -> Vec<Arc<CoreMetrics>> {
    (0..count).map(|_| Arc::new(CoreMetrics::default())).collect()
}

/// Lines of one metric, without HELP and TYPE.
fn lines<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let belongs = |line: &&str| line.split(['{', ' ']).next().is_some_and(|found| found == name);
    page.lines().filter(belongs).collect()
}

#[test]
fn an_unused_server_shows_heads_and_zeros() {
    let page = render(&cores(1));
    for family in &FAMILIES {
        assert!(page.contains(&format!("# HELP {} {}\n# TYPE {} counter\n", family.name, family.help, family.name)));
        let expected = if family.labels.is_empty() { vec![format!("{} 0", family.name)] } else { vec![] };
        assert_eq!(lines(&page, family.name), expected);
    }
    assert_eq!(lines(&page, "http_requests_total"), Vec::<&str>::new());
    assert!(page.contains("# TYPE http_request_duration_seconds histogram\n"));
    assert!(page.contains("# TYPE websocket_connections_total gauge\n"));
    assert_eq!(lines(&page, "database_records_total"), Vec::<&str>::new());
    assert!(!page.contains("prisma_"));
    assert!(page.starts_with("# HELP ") && page.ends_with('\n'));
}

/// One of every counter, and its line.
const EVERY: [(Counter, &str); FAMILIES.len()] = [
    (Counter::SessionAlive, "session_alive_events_total 1"),
    (Counter::MachineAlive, "machine_alive_events_total 1"),
    (
        Counter::SessionCache("session_validation", "hit"),
        "session_cache_operations_total{operation=\"session_validation\",result=\"hit\"} 1",
    ),
    (Counter::DatabaseUpdateSkipped("machine"), "database_updates_skipped_total{type=\"machine\"} 1"),
    (Counter::WebsocketEvent("message"), "websocket_events_total{event_type=\"message\"} 1"),
    (Counter::MessageAck("ok", "none"), "socket_message_ack_total{result=\"ok\",error=\"none\"} 1"),
    (Counter::ChangesRequest("cursor-gone"), "changes_requests_total{result=\"cursor-gone\"} 1"),
    (Counter::ChangesReturned, "changes_returned_changes_total 1"),
    (
        Counter::CatchupFetch("session-messages-afterSeq"),
        "catchup_followup_fetches_total{type=\"session-messages-afterSeq\"} 1",
    ),
    (
        Counter::CatchupReturned("session-messages-afterSeq"),
        "catchup_followup_returned_total{type=\"session-messages-afterSeq\"} 1",
    ),
    (Counter::SlowPeerDisconnect("outbox"), "happier_slow_peer_disconnects_total{reason=\"outbox\"} 1"),
    (Counter::PayloadTooLarge, "happier_socket_payloads_refused_total 1"),
    (Counter::RateLimited, "happier_rate_limited_requests_total 1"),
    (Counter::PoolRefused("calls"), "happier_pool_refusals_total{pool=\"calls\"} 1"),
    (Counter::EventRefused("artifact-create"), "happier_events_refused_total{event_type=\"artifact-create\"} 1"),
];

#[test]
fn every_counter_reaches_its_own_family() {
    for (counter, line) in EVERY {
        let cores = cores(2);
        cores[1].inc(counter);
        let page = render(&cores);
        assert_eq!(lines(&page, line.split(['{', ' ']).next().unwrap()), [line]);
        let untouched = FAMILIES.iter().filter(|family| family.labels.is_empty() && !line.starts_with(family.name));
        for family in untouched {
            assert_eq!(lines(&page, family.name), [format!("{} 0", family.name)]);
        }
    }
}

#[test]
fn cores_add_up() {
    let cores = cores(2);
    cores[0].add(Counter::ChangesReturned, 5);
    cores[1].add(Counter::ChangesReturned, 7);
    cores[0].connected("user-scoped");
    cores[1].connected("user-scoped");
    cores[1].connected("machine-scoped");
    cores[0].disconnected("user-scoped");
    let page = render(&cores);
    assert_eq!(lines(&page, "changes_returned_changes_total"), ["changes_returned_changes_total 12"]);
    assert_eq!(
        lines(&page, "websocket_connections_total"),
        [
            "websocket_connections_total{type=\"user-scoped\"} 1",
            "websocket_connections_total{type=\"session-scoped\"} 0",
            "websocket_connections_total{type=\"machine-scoped\"} 1",
        ]
    );
}

#[test]
fn gauges_per_core_and_in_sum() {
    let cores = cores(2);
    cores[0].gauge_set(Gauge::Connections, 3);
    cores[1].gauge_add(Gauge::OutboxBytes, 10);
    cores[1].gauge_add(Gauge::OutboxBytes, -4);
    cores[0].gauge_set(Gauge::PoolOpen, 2);
    cores[1].gauge_set(Gauge::PoolOpen, 2);
    cores[1].gauge_set(Gauge::Messages, 0);
    cores[0].set_io_driver("io_uring");
    cores[1].set_io_driver("io_uring");
    let page = render(&cores);
    let table: [(&str, &[&str]); 6] = [
        ("happier_connections", &["happier_connections{core=\"0\"} 3", "happier_connections{core=\"1\"} 0"]),
        ("happier_outbox_bytes", &["happier_outbox_bytes{core=\"0\"} 0", "happier_outbox_bytes{core=\"1\"} 6"]),
        ("happier_mailbox_depth", &["happier_mailbox_depth{core=\"0\"} 0", "happier_mailbox_depth{core=\"1\"} 0"]),
        ("prisma_pool_connections_open", &["prisma_pool_connections_open 4"]),
        ("database_records_total", &["database_records_total{table=\"messages\"} 0"]),
        ("happier_io_driver", &["happier_io_driver{driver=\"io_uring\"} 1"]),
    ];
    for (name, expected) in table {
        assert_eq!(lines(&page, name), expected);
    }
    assert!(page.starts_with("# HELP prisma_pool_connections_open"), "the database client comes first");
}

#[test]
fn requests_are_counted_and_timed() {
    let cores = cores(2);
    cores[0].http("GET", "/v1/kv/:key", 200, 0.0004);
    cores[1].http("GET", "/v1/kv/:key", 200, 0.25);
    cores[1].http("GET", "/v1/kv/:key", 200, 60.0);
    cores[1].http("OPTIONS", "*", 204, 0.0);
    let page = render(&cores);
    let labels = "method=\"GET\",route=\"/v1/kv/:key\",status=\"200\"";
    assert_eq!(
        lines(&page, "http_requests_total"),
        [
            "http_requests_total{method=\"OPTIONS\",route=\"*\",status=\"204\"} 1".to_owned(),
            format!("http_requests_total{{{labels}}} 3"),
        ]
    );
    let reached = [1, 1, 1, 1, 1, 2, 2, 2, 2, 3];
    let bounds = ["0.001", "0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "10", "+Inf"];
    let buckets = bounds
        .iter()
        .zip(reached)
        .map(|(bound, count)| format!("http_request_duration_seconds_bucket{{le=\"{bound}\",{labels}}} {count}"));
    let found = lines(&page, "http_request_duration_seconds_bucket");
    assert_eq!(found[10..], buckets.collect::<Vec<_>>());
    assert_eq!(
        lines(&page, "http_request_duration_seconds_sum")[1],
        format!("http_request_duration_seconds_sum{{{labels}}} 60.2504")
    );
    assert_eq!(
        lines(&page, "http_request_duration_seconds_count")[1],
        format!("http_request_duration_seconds_count{{{labels}}} 3")
    );
}

#[test]
fn turns_and_batches_are_histograms_without_labels() {
    let cores = cores(1);
    cores[0].turn(0.000_2);
    cores[0].database_batch(3);
    let page = render(&cores);
    assert!(
        page.contains("happier_turn_seconds_bucket{le=\"0.0001\"} 0\nhappier_turn_seconds_bucket{le=\"0.0005\"} 1\n")
    );
    assert!(page.contains("happier_turn_seconds_sum 0.0002\nhappier_turn_seconds_count 1\n"));
    assert!(page.contains("happier_database_batch_size_bucket{le=\"2\"} 0\n"));
    assert!(page.contains("happier_database_batch_size_bucket{le=\"4\"} 1\n"));
    assert!(page.contains("happier_database_batch_size_sum 3\n"));
}

#[test]
fn label_values_are_escaped() {
    assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
}

/// Name, type, labels and help of everything that `page` exposes, as a row of docs/metrics.md.
fn rows(page: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else { continue };
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect("a type");
        let suffix = if kind == "histogram" { "_bucket" } else { "" };
        let series = page.lines().find(|line| line.starts_with(&format!("{name}{suffix}")));
        let series = series.unwrap_or_else(|| panic!("{name} has no series"));
        let labels = series.split_once('{').map_or("", |(_, rest)| rest.split_once('}').expect("a brace").0);
        let labels: Vec<_> = labels
            .split(',')
            .filter_map(|pair| pair.split_once('=').map(|(label, _)| label))
            .filter(|label| *label != "le")
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() { "–".to_string() } else { labels.join(", ") };
        rows.push(format!("| `{name}` | {kind} | {labels} | {help} |"));
    }
    rows
}

#[test]
fn the_documents_list_every_metric() {
    const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
    let cores = cores(1);
    for (counter, _) in EVERY {
        cores[0].inc(counter);
    }
    for gauge in 0..GAUGES {
        cores[0].gauges[gauge].store(0, Relaxed);
    }
    cores[0].http("GET", "/", 200, 0.0);
    cores[0].set_io_driver("io_uring");
    let (ours, theirs): (Vec<_>, Vec<_>) =
        rows(&render(&cores)).into_iter().partition(|row| row.starts_with("| `happier_"));
    let mut expected = String::from("<!-- metrics -->\n");
    for rows in [theirs, ours] {
        expected.push_str("\n| Name | Type | Labels | Help |\n|---|---|---|---|\n");
        expected.extend(rows.iter().map(|row| format!("{row}\n")));
    }
    expected.push_str("<!-- /metrics -->");
    assert!(DOCUMENT.contains(&expected), "docs/metrics.md should contain\n{expected}");
}
