//! The official client takes the stand-in for the Hub: it downloads, verifies, and knows its account.

use standin_hub::{Class, Content, Gate, Repo, StandinHub, Token};
use test_support::client::Client;

fn tiny() -> Repo {
    Repo::model("acme/tiny")
        .file("config.json", "{}")
        .file("sub folder/größe.txt", "déjà vu")
        .lfs("model.safetensors", Content::random(7, 3 << 20))
        .lfs("empty.bin", "")
        .branch("main")
}

#[tokio::test]
async fn a_public_model_is_downloaded_verified_and_loaded_offline() {
    let hub = StandinHub::start().await;
    hub.add(tiny());
    let client = Client::of(&hub);

    client.hf(&["download", "acme/tiny"]).unwrap();
    client.hf(&["cache", "verify", "acme/tiny", "--fail-on-missing-files", "--fail-on-extra-files"]).unwrap();

    let snapshot = client.cache().join("models--acme--tiny/snapshots").join(hub.commit("acme/tiny", "main"));
    for file in hub.files("acme/tiny", "main") {
        assert!(
            std::fs::read(snapshot.join(&file.path)).unwrap() == file.content.to_vec().unwrap(),
            "{}",
            file.path
        );
        assert!(client.cache().join("models--acme--tiny/blobs").join(&file.etag).is_file(), "{}", file.path);
    }
    let through_cdn: u64 = hub
        .requests()
        .iter()
        .filter(|request| request.class == Class::Cdn)
        .map(|request| request.bytes)
        .sum();
    assert_eq!(through_cdn, 3 << 20);
}

#[tokio::test]
async fn a_gated_model_is_downloaded_once_its_terms_are_accepted() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(tiny().gated(Gate::Manual));
    hub.accept_terms("alice", "acme/tiny");
    let client = Client::with_token(&hub, "hf_alice");

    client.hf(&["download", "acme/tiny"]).unwrap();
    client.hf(&["cache", "verify", "acme/tiny"]).unwrap();

    for request in hub.requests().iter().filter(|request| request.path.contains("acme/tiny")) {
        assert_eq!(request.authorized, request.class != Class::Cdn, "{request:?}");
    }
    assert!(hub.token_leaks().is_empty());
}

#[tokio::test]
async fn revisions_are_branches_tags_pull_requests_and_commits() {
    let hub = StandinHub::start().await;
    hub.add(
        Repo::model("acme/tiny")
            .file("config.json", "1")
            .branch("main")
            .tag("v1")
            .file("config.json", "2")
            .branch("main")
            .file("config.json", "3")
            .pull_request(1),
    );
    let client = Client::of(&hub);
    let first = hub.commit("acme/tiny", "v1");
    for (revision, content) in [("main", "2"), ("v1", "1"), ("refs/pr/1", "3"), (first.as_str(), "1")] {
        client.hf(&["download", "acme/tiny", "--revision", revision]).unwrap();
        let snapshot =
            client.cache().join("models--acme--tiny/snapshots").join(hub.commit("acme/tiny", revision));
        assert_eq!(std::fs::read_to_string(snapshot.join("config.json")).unwrap(), content, "{revision}");
    }
}

#[tokio::test]
async fn datasets_spaces_and_names_without_a_namespace_work() {
    let hub = StandinHub::start().await;
    hub.add(
        Repo::dataset("acme/words")
            .file("data/words.csv", "a,b\n")
            .lfs("data/x.parquet", Content::random(1, 1000)),
    );
    hub.add(Repo::space("acme/demo").file("app.py", "pass\n"));
    hub.add(Repo::model("gpt2").file("config.json", "{}"));
    let client = Client::of(&hub);
    client.hf(&["download", "acme/words", "--repo-type", "dataset"]).unwrap();
    client.hf(&["cache", "verify", "acme/words", "--repo-type", "dataset"]).unwrap();
    client.hf(&["download", "acme/demo", "--repo-type", "space"]).unwrap();
    client.hf(&["download", "gpt2"]).unwrap();
}

#[tokio::test]
async fn listings_come_in_pages() {
    let hub = StandinHub::start().await;
    hub.page_size(7);
    let repo = (0..20)
        .fold(Repo::model("acme/many"), |repo, n| repo.file(&format!("d{}/f{n}", n % 3), n.to_string()));
    hub.add(repo);
    let client = Client::of(&hub);
    client.hf(&["download", "acme/many"]).unwrap();
    client.hf(&["cache", "verify", "acme/many", "--fail-on-missing-files"]).unwrap();
    let pages = hub.requests().iter().filter(|request| request.path.contains("/tree/")).count();
    assert_eq!(pages, 2 * 4, "23 entries in pages of 7, for the download and to verify");
}

#[tokio::test]
async fn a_renamed_repo_and_small_files_are_redirected_on_the_same_host() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.resolve_cache(true);
    hub.add(tiny().private(true).member("alice"));
    hub.rename("acme/tiny", "acme/small");
    let client = Client::with_token(&hub, "hf_alice");
    client.hf(&["download", "acme/tiny"]).unwrap();
    client.hf(&["download", "Acme/Small"]).unwrap();
    assert!(
        hub.requests()
            .iter()
            .any(|request| request.path.starts_with("/api/resolve-cache/models/acme/small/"))
    );
}

#[tokio::test]
async fn an_account_is_told_by_its_token() {
    let hub = StandinHub::start().await;
    hub.user("alice").org("acme").token("hf_alice").token(Token::expired("hf_old").called("laptop"));
    let out = Client::with_token(&hub, "hf_alice").hf(&["auth", "whoami"]).unwrap();
    assert!(out.contains("alice") && out.contains("acme"), "{out}");

    for (token, words) in [
        ("hf_old", "User Access Token \"laptop\" is expired"),
        ("hf_wrong", "Invalid credentials in Authorization header"),
    ] {
        let client = Client::with_token(&hub, token);
        let out = client.hf(&["auth", "whoami"]).unwrap_err();
        assert!(out.contains("The token from HF_TOKEN environment variable is invalid"), "{out}");
        let asked = "import huggingface_hub as h\n\
                     try: h.whoami()\n\
                     except h.errors.HfHubHTTPError as e: print(e.response.headers['X-Error-Message'])";
        assert_eq!(client.python(asked).unwrap().trim(), words);
    }
}

#[tokio::test]
async fn paths_and_refs_are_told() {
    let hub = StandinHub::start().await;
    hub.add(tiny().tag("v1"));
    let out = Client::of(&hub)
        .python(
            "import huggingface_hub as h\n\
             a = h.HfApi()\n\
             i = a.get_paths_info('acme/tiny', ['config.json', 'sub folder', 'none'], expand=True)\n\
             print([(type(x).__name__, x.path, x.last_commit.title) for x in i])\n\
             r = a.list_repo_refs('acme/tiny')\n\
             print([x.name for x in r.branches], [x.name for x in r.tags])\n\
             print([(type(x).__name__, x.path) for x in a.list_repo_tree('acme/tiny')])",
        )
        .unwrap();
    assert_eq!(
        out,
        "[('RepoFile', 'config.json', 'Upload'), ('RepoFolder', 'sub folder', 'Upload')]\n['main'] ['v1']\n\
         [('RepoFile', 'config.json'), ('RepoFile', 'empty.bin'), ('RepoFile', 'model.safetensors'), \
         ('RepoFolder', 'sub folder')]\n"
    );
}
