//! What a session wrote is in the next one, and in the storage under its name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;

use super::{FILES, Shell, Store, each_kind, released};
use crate::support::service::Kind;
use crate::support::{Broker, eventually};

each_kind!(
    five_hundred_files_are_in_the_next_sandbox_and_in_the_service,
    files_belong_to_the_shells_user_and_git_works_among_them,
    the_files_of_a_mount_come_and_go_over_http,
    what_one_session_closed_another_reads_within_the_bound,
    read_only_storage_is_read_and_not_written,
);

/// Makes 500 files of up to 64 MiB in the current directory.
const MAKE: &str = r#"
set -e
head -c 67108864 /dev/urandom > big
mkdir -p many 'a folder' 'ünï cödé/漢字/🦀'
for i in $(seq 0 439); do head -c $((i * i / 3)) /dev/urandom > many/$i; done
for i in $(seq 0 38); do head -c $((i * 16384 + i % 3)) /dev/urandom > "a folder/file $i.dat"; done
for name in 'with  spaces' 'ünïcode-ß' '漢字' '🦀' '100%' '%41%2F' 'a+b&c=d' 'a?b#c' 'semi;colon' "quo'te" 'dou"ble' \
    '[x]*{y}' '~tilde' '$HOME' '-dash' ' leading' '@at!' 'trailing.' 'a folder/dots...' 'ünï cödé/漢字/🦀/x'; do
    printf 'this is %s' "$name" > "./$name"
done
find . -type f | wc -l
"#;

/// Changes some of them: appends, overwrites, renames of files and of a folder
/// with files in it, removals, an empty folder.
const CHANGE: &str = r#"
set -e
for i in $(seq 1 20); do printf 'and %s' $i >> many/$i; done
cp many/60 many/50
head -c 10 many/70 | dd of=many/71 conv=fsync status=none
printf mid | dd of=big bs=1 seek=33554432 conv=notrunc,fsync status=none
mv many/30 'many/renamed 30'
mv many/31 'a folder/moved here'
mv many/32 many/33
mv 'a folder' 'another folder'
rm many/40 many/41
mkdir empty
"#;

/// Prints the hash and the name of every file, then the folders.
const LOOK: &str = "find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -type d | sort";

async fn five_hundred_files_are_in_the_next_sandbox_and_in_the_service(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    // One after the other on two providers: the section of the storage is the same.
    let remote = store.config("", "");
    let local = remote.replace("provider = \"box\"", "provider = \"local\"")
        + &format!(
            "[providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\nhost_services = [\"{}\"]\n",
            store.service.endpoint()
        );
    let broker = Broker::start(&local).await;

    let mut first = Shell::open(&broker).await;
    assert_eq!(first.ok("pwd").await, format!("{FILES}\n"), "the shell starts in the storage");
    first.ok(&format!("cat > /tmp/make <<'END'\n{MAKE}\nEND\ncat > /tmp/change <<'END'\n{CHANGE}\nEND")).await;
    let made = first.ok("mkdir /tmp/here && cd /tmp/here && bash /tmp/make").await;
    assert_eq!(made, "500\n");
    let began = Instant::now();
    // Names what it copies, so that waiting is no silence.
    first.ok(&format!("cp -rv . {FILES}")).await;
    println!("500 files were written in {:.1} s", began.elapsed().as_secs_f32());
    first.ok("bash /tmp/change").await;
    first.ok(&format!("cd {FILES} && bash /tmp/change")).await;
    let expected = first.ok(&format!("cd /tmp/here; {LOOK}")).await;
    first.exit().await;
    released(&broker, 1).await;
    eventually("the end of the sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;

    // By the service's own API, and nothing besides.
    let expected_files = hashes(&expected);
    assert_eq!(expected_files.len(), 500 - 3);
    let mut found = BTreeMap::new();
    for blob in store.service.list(&store.container).await.into_iter().filter(|blob| !blob.directory) {
        let hash = store.service.sha256(&store.container, &blob.name).await.unwrap();
        found.insert(blob.name, hash);
    }
    assert_eq!(found, expected_files);

    broker.edit(&remote);
    broker.logs(r#""configuration is live","generation":2"#).await;
    let began = Instant::now();
    let mut second = Shell::open(&broker).await;
    println!("the next session was ready after {:.1} s", began.elapsed().as_secs_f32());
    assert_eq!(second.ok(&format!("cd {FILES}; {LOOK}")).await, expected);
    second.exit().await;
    released(&broker, 2).await;
}

async fn files_belong_to_the_shells_user_and_git_works_among_them(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = Broker::start(&store.config("", "")).await;
    let mut shell = Shell::open(&broker).await;
    let owners =
        "id -un; cd /workspace/files && echo x > file && mkdir folder && stat -c '%U %G' . file folder | sort -u";
    assert_eq!(shell.ok(owners).await, "user\nuser user\n");
    // One that is copied there with a mode of its own, and one that is not.
    let git = "export HOME=/tmp; git init -q . && cp /bin/true program && git add file program && git ls-files -s | cut -d ' ' -f 1";
    assert_eq!(shell.ok(git).await, "100644\n100644\n");
    shell.exit().await;
    released(&broker, 1).await;
}

/// The lines of `sha256sum` as names and hashes.
fn hashes(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once("  ./"));
    lines.map(|(hash, name)| (name.to_owned(), hash.to_owned())).collect()
}

/// A mount that believes what it knows for 2 s.
const BELIEVES: &str = "attribute_timeout = \"2s\"";

/// What `docs/storage.md` promises of it: twice as long. A machine that is busy
/// with other tests takes some time on its own.
const BOUND: Duration = Duration::from_secs(4 + 6);

async fn the_files_of_a_mount_come_and_go_over_http(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
    let session = status["sessions"][0]["id"].as_str().unwrap();
    let url = |name: &str| format!("{}/api/sessions/{session}/files/content?path={FILES}/{name}", broker.url);
    let http = reqwest::Client::new();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let put = http.put(url("up")).body(content.clone()).send().await.unwrap();
    assert!(put.status().is_success(), "{}", put.text().await.unwrap());
    let kept = match kind {
        Kind::Azure => store.service().read(&store.container, "up").await.unwrap(),
        // A mount of S3 stores what was closed, but closing does not wait for it.
        Kind::S3 => {
            eventually("the file in the storage", async || store.service().read(&store.container, "up").await).await
        }
    };
    let differs = kept.iter().zip(&content).position(|(kept, put)| kept != put);
    assert!(
        kept == content,
        "{} of {} bytes are kept; the first that differs is {differs:?}",
        kept.len(),
        content.len()
    );
    // What the kernel believes of it runs out after a second.
    shell.ok(&format!("printf made > {FILES}/down; sleep 2")).await;
    for (name, expected) in [("up", content.as_slice()), ("down", b"made")] {
        let got = http.get(url(name)).send().await.unwrap();
        assert_eq!(got.status(), 200, "{name}");
        assert_eq!(got.bytes().await.unwrap(), expected, "{name}");
    }
    let part = http.get(url("up")).header("range", "bytes=1000-1999").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().to_vec()), (206, content[1000..2000].to_vec()));
}

async fn what_one_session_closed_another_reads_within_the_bound(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    let broker = Broker::start(&store.config("", BELIEVES)).await;
    let mut writer = Shell::open(&broker).await;
    let mut reader = Shell::open(&broker).await;
    store.server.has(2).await;
    let wait = |text: &str| {
        format!("until [ \"$(cat {FILES}/shared 2>/dev/null)\" = '{text}' ]; do sleep 0.1; done; ls {FILES}")
    };
    // A file that was not there, one that has grown, one of the same length.
    for text in ["one", "one and more", "two and more"] {
        reader.run(&format!("cat {FILES}/shared")).await;
        writer.ok(&format!("printf '{text}' | dd of={FILES}/shared conv=fsync status=none")).await;
        let began = Instant::now();
        assert_eq!(reader.ok(&wait(text)).await, "shared\n");
        let took = began.elapsed();
        println!("{text:?} was seen by the other session after {:.1} s", took.as_secs_f32());
        assert!(took < BOUND, "{text:?} took {took:?}");
    }
    writer.ok(&format!("rm {FILES}/shared")).await;
    let began = Instant::now();
    reader.ok(&format!("while [ -e {FILES}/shared ]; do sleep 0.1; done")).await;
    assert!(began.elapsed() < BOUND, "the end of a file took {:?}", began.elapsed());
}

async fn read_only_storage_is_read_and_not_written(kind: Kind) {
    let Some(store) = Store::new(kind).await else { return };
    store.service.upload(&store.container, "there", "content").await;
    let config = store.config("", "").replace("[storage]\n", "[storage]\nread_only = true\n");
    let broker = Broker::start(&config).await;
    let mut shell = Shell::open(&broker).await;
    assert_eq!(shell.ok(&format!("cat {FILES}/there")).await, "content");
    let (status, said) = shell.run(&format!("cp /etc/hostname {FILES}/mine")).await;
    assert!(status != 0 && said.contains("Read-only file system"), "{said}");
    // Nor by the token itself.
    let mount = store.mount().await;
    match kind {
        Kind::Azure => {
            let token = mount.token();
            let url = format!("{}/{}/mine?{token}", store.service.endpoint(), store.container);
            let put = reqwest::Client::new()
                .put(url)
                .header("x-ms-blob-type", "BlockBlob")
                .header("x-ms-version", "2022-11-02")
                .body("x");
            assert_eq!(put.send().await.unwrap().status(), 403);
            assert_eq!(store.status_by(&token).await, 200);
        }
        Kind::S3 => {
            let path = format!("/{}/mine", store.container);
            let s3 = store.service.s3();
            let put = s3.send(&mount.key(), Method::PUT, &path, &[], Some(b"x".to_vec())).await;
            assert_eq!(put.status(), 403);
            let there = format!("/{}/there", store.container);
            assert_eq!(s3.send(&mount.key(), Method::GET, &there, &[], None).await.status(), 200);
        }
    }
    shell.exit().await;
    assert_eq!(store.text("mine").await, None);
}
