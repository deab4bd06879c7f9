//! Every bound of `wit/`, at its edge and one beyond it.

use super::*;

#[test]
fn ids_and_states_are_bounded() {
    let r = |id: &str, n| sandbox_ref(wit::SandboxRef { id: id.into(), state: vec![0; n] });
    assert!(r("a", 4096).is_ok());
    assert!(r("a", 4097).is_err());
    assert!(r("", 0).is_err());
    assert!(r("a\nb", 0).is_err());
    assert!(r(&"x".repeat(256), 0).is_ok());
    assert!(r(&"x".repeat(257), 0).is_err());
}

fn spec(labels: usize, key: &str, value: usize) -> Spec {
    let label = |n: usize| (format!("{key}{n}"), "v".repeat(value));
    Spec { labels: (0..labels).map(label).collect(), ..Spec::default() }
}

#[test]
fn labels_fit_the_narrowest_provider() {
    assert!(to_spec(&spec(8, "sandbox-broker_a.", 63)).is_ok());
    assert!(to_spec(&spec(9, "a", 1)).is_err());
    assert!(to_spec(&spec(1, "a", 64)).is_err());
    for key in ["A", "a/b", "ä", "a b"] {
        assert!(to_spec(&spec(1, key, 1)).is_err(), "{key}");
    }
    assert!(to_spec(&spec(1, &"k".repeat(62), 1)).is_ok());
    let error = to_spec(&spec(1, &"k".repeat(63), 1)).unwrap_err();
    assert_eq!(error.fault, Fault::Broker);
}

#[test]
fn an_environment_is_bounded_in_variables_and_bytes() {
    let env = |count: usize, bytes: usize| {
        let env = (0..count).map(|n| (format!("{n:02}"), "v".repeat(bytes))).collect();
        to_spec(&Spec { env, ..Spec::default() })
    };
    assert!(env(64, 100).is_ok());
    assert!(env(65, 1).is_err());
    assert!(env(2, (64 << 10) - 2).is_ok());
    assert_eq!(env(2, (64 << 10) - 1).unwrap_err().fault, Fault::Operator);
}

#[test]
fn choices_are_bounded() {
    let choices = |change: fn(&mut Choices)| {
        let mut spec = Spec::default();
        change(&mut spec.choices);
        to_spec(&spec).map(|spec| spec.choices)
    };
    let volume = |name: usize, path: &str| Volume { name: "n".repeat(name), path: path.into(), read_only: true };
    assert!(choices(|_| {}).unwrap().image.is_none(), "nothing is chosen");
    assert_eq!(choices(|c| c.image = Some("i".repeat(512))).unwrap().image.unwrap().len(), 512);
    assert!(choices(|c| c.image = Some("i".repeat(513))).is_err());
    assert!(choices(|c| c.image = Some(String::new())).is_err());
    assert!(choices(|c| c.region = Some("r".repeat(64))).is_ok());
    assert!(choices(|c| c.region = Some("r".repeat(65))).is_err());
    let with =
        |volumes: Vec<Volume>| to_spec(&Spec { choices: Choices { volumes, ..Choices::default() }, ..Spec::default() });
    assert!(with(vec![volume(256, "/v"); 16]).is_ok());
    for bad in [vec![volume(1, "/v"); 17], vec![volume(257, "/v")], vec![volume(0, "/v")], vec![volume(1, "v")]] {
        assert_eq!(with(bad).unwrap_err().fault, Fault::Caller);
    }
}

#[test]
fn a_process_is_bounded_in_arguments_and_bytes() {
    let argv = |count: usize, bytes: usize| {
        let command = Command { argv: vec!["a".repeat(bytes); count], ..Command::default() };
        to_pty_spec(&command, Size::DEFAULT).and(to_command(&command))
    };
    assert!(argv(1024, 128).is_ok());
    assert!(argv(1025, 1).is_err());
    assert!(argv(1024, 129).is_err());
    assert!(argv(0, 0).is_err() && argv(1, 0).is_err(), "there is a program");
}

#[test]
fn paths_are_absolute_and_bounded() {
    let at = |path: String| to_location(&Location { path, user: None });
    assert!(at(format!("/{}", "p".repeat(4095))).is_ok());
    assert!(at(format!("/{}", "p".repeat(4096))).is_err());
    for path in ["", "a", "/a\0"] {
        assert!(at(path.to_owned()).is_err(), "{path:?}");
        assert!(to_path(path).is_err(), "{path:?}");
    }
}

#[test]
fn pages_of_sandboxes_are_bounded() {
    let listed = |labels: usize| wit_sandbox::Listed {
        id: "i".into(),
        labels: (0..labels).map(|n| (n.to_string(), String::new())).collect(),
        created_unix_ms: None,
        ends_unix_ms: Some(1000),
    };
    let of = |sandboxes, next: usize| page(wit_sandbox::Page { sandboxes, next: Some("c".repeat(next)) });
    assert_eq!(of(vec![listed(65)], 4096).unwrap().sandboxes[0].labels.len(), 64, "others may have put labels on it");
    assert!(of(Vec::new(), 4097).is_err());
    assert!(of(vec![listed(0); 10_000], 1).is_ok());
    assert!(of(vec![listed(0); 10_001], 1).is_err());
}

fn file(name: usize, path: usize) -> files::Entry {
    files::Entry {
        name: "n".repeat(name),
        path: format!("/{}", "p".repeat(path - 1)),
        kind: files::Kind::File,
        size: 1,
        mode: 0o644,
        modified_unix_ms: None,
    }
}

#[test]
fn pages_of_directories_are_bounded() {
    let of = |count, next: usize| {
        let entries = vec![file(1, 2); count];
        super::entries(files::Entries { entries, next: Some("c".repeat(next)) })
    };
    assert_eq!(of(1000, 4096).unwrap().entries.len(), 1000);
    assert!(of(1001, 1).is_err());
    assert!(of(1, 4097).is_err());
    assert!(entry(file(255, 4096)).is_ok());
    assert!(entry(file(256, 2)).is_err());
    assert!(entry(file(1, 4097)).is_err());
}

#[test]
fn an_exit_is_one_thing_and_a_signals_words_are_cut() {
    assert_eq!(exit(wit::Exit::Code(255)), Exit::Code(255));
    assert_eq!(exit(wit::Exit::Signal("killed".into())), Exit::Signal("SIGKILL".into()));
    assert_eq!(exit(wit::Exit::Unknown), Exit::Unknown);
    let Exit::Signal(words) = exit(wit::Exit::Signal("s".repeat(1000))) else { panic!("a signal") };
    assert!(words.len() < 100, "{words}");
}

#[test]
fn routes_are_bounded_urls() {
    let of = |url: &str, headers: usize, bytes: usize| {
        route(ports::Route { url: url.into(), headers: vec![("n".into(), "v".repeat(bytes)); headers] })
    };
    assert!(of("https://8080-i.example", 16, 511).is_ok());
    assert!(of("https://i", 17, 1).is_err());
    assert!(of("https://i", 16, 512).is_err());
    assert!(of(&format!("http://{}", "h".repeat(2041)), 0, 0).is_ok());
    for url in ["ftp://i", "//i", "https://i\n", &format!("http://{}", "h".repeat(2042))] {
        assert!(of(url, 0, 0).is_err(), "{url}");
    }
    let shown = format!("{:?}", of("https://i", 1, 7).unwrap());
    assert!(!shown.contains("vvvvvvv"), "{shown}");
}

#[test]
fn both_parts_of_a_grant_are_bounded_and_neither_is_printed() {
    let of = |kept: usize, sealed: usize| grant(mounter::Grant { kept: vec![b'k'; kept], sealed: vec![b's'; sealed] });
    let most = of(4 << 10, 16 << 10).unwrap();
    assert_eq!(format!("{most:?}"), "Grant(4096 bytes kept, 16384 sealed)");
    assert_eq!(to_grant(&most).sealed.len(), 16 << 10);
    assert!(of((4 << 10) + 1, 0).is_err());
    assert!(of(0, (16 << 10) + 1).is_err());
}

#[test]
fn a_call_says_how_much_time_is_left_and_what_finds_it_in_logs() {
    let of = Call { traceparent: Some("00-a-b-01".into()), ..Call::default() };
    let told = call("c".into(), &of, Duration::from_millis(1500));
    assert_eq!((told.deadline_ms, told.traceparent), (1500, of.traceparent));
}
