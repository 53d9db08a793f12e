//! How few requests serve many who ask the same.

use pretty_assertions::assert_eq;

use super::*;

/// What a ModelCache of a public repo needs at first: access, revision, listing, and a byte of a file, which the Hub redirects.
const FIRST: usize = 5;
/// The same once the files of its commit are known.
const REFRESH: usize = 4;

#[tokio::test]
async fn one_answer_serves_all_who_ask_the_same() {
    let hub = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    hub.add(tiny("acme/other"));
    let prober = start(&[&hub]);
    let same: Vec<_> =
        (0..50).map(|n| of(&format!("team-{}", n % 5), &format!("cache-{n}"), "acme/tiny")).collect();
    let mut expected = FIRST;
    for checked in all(&prober, &same, Timestamp::now()).await {
        assert!(checked.granted(), "{checked:?}");
    }
    assert_eq!(hub.requests().len(), expected);

    // What the user asks for is asked at once, and another repo is another question.
    let later = Timestamp::now() + 2 * HOUR;
    all(&prober, &same, later).await;
    expected += REFRESH;
    assert_eq!(hub.requests().len(), expected);
    let mut urged = (*same[0].cache).clone();
    urged.annotations_mut().insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "1".to_owned());
    let urged = Observation { cache: Arc::new(urged), ..same[0].clone() };
    settled(&prober, &urged, later + Duration::from_secs(1)).await;
    expected += FIRST;
    assert_eq!(hub.requests().len(), expected);
    settled(&prober, &of("team-0", "other", "acme/other"), later).await;
    expected += FIRST;
    assert_eq!(hub.requests().len(), expected);
}

#[tokio::test]
async fn a_thousand_of_fifty_repos_cost_four_requests_a_repo_and_interval() {
    const REPOS: usize = 50;
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    let repo = |n: usize| format!("acme/tiny-{}", n % REPOS);
    for n in 0..REPOS {
        hub.add(tiny(&repo(n)));
    }
    let prober = start(&[&hub]);
    let now = Timestamp::now();
    let new = |n: usize| {
        let seen = of("team", &format!("cache-{n}"), &repo(n));
        with("hf_alice", (*seen.cache).clone())
    };
    let new: Vec<_> = (0..1000).map(new).collect();
    let checked = all(&prober, &new, now).await;
    assert_eq!(hub.requests().len(), FIRST * REPOS + 1, "and whoami-v2 once");

    let pinned = new.into_iter().zip(&checked).map(|(seen, checked)| reconciled(seen, checked, now));
    let pinned: Vec<_> = pinned.collect();
    for interval in 1..=3 {
        let before = hub.requests().len();
        // Each comes when its own interval, with its jitter, is over.
        for quarter in 0..4 {
            let later = now + (2 * interval - 1) * HOUR + quarter * HOUR / 10;
            for checked in all(&prober, &pinned, later).await {
                assert!(checked.granted(), "{checked:?}");
            }
        }
        assert_eq!(hub.requests().len() - before, REFRESH * REPOS, "interval {interval}");
    }
    assert_eq!(hub.requests().iter().filter(|request| request.path.contains("/tree/")).count(), REPOS);
}

/// The listing that is known is that of one commit.
#[tokio::test]
async fn another_commit_is_listed_anew() {
    let hub = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    let prober = start(&[&hub]);
    let seen = of("team", "tiny", "acme/tiny");
    let (before, _) = settled(&prober, &seen, Timestamp::now()).await;
    hub.update("acme/tiny", |repo| repo.file("more.json", "{}").branch("main"));
    let (after, _) = settled(&prober, &seen, Timestamp::now() + 2 * HOUR).await;
    let files = |checked: &AccessReport| checked.snapshot.as_ref().unwrap().files;
    assert_eq!((files(&before), files(&after)), (1, 2));
}

/// The file that proves access is requested although it is known.
#[tokio::test]
async fn access_that_is_lost_is_noticed_though_the_files_are_known() {
    let hub = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    let prober = start(&[&hub]);
    let seen = of("team", "tiny", "acme/tiny");
    let (granted, _) = settled(&prober, &seen, Timestamp::now()).await;
    let seen = reconciled(seen, &granted, Timestamp::now());
    hub.fault(Fault::new(FaultKind::Status(403)).path("config.json"));
    let later = Timestamp::now() + 2 * HOUR;
    let (doubted, _) = settled(&prober, &seen, later).await;
    let (refused, _) = settled(&prober, &seen, later + SECOND_OPINION).await;
    assert_eq!((doubted.granted(), refused.first_unmet().unwrap().reason), (true, Reason::AccessDenied));
}
