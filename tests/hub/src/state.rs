//! The state of the Hub, and its access rules. Without network.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    account::{Token, TokenKind, User},
    content::Content,
    name::RepoName,
    refusal::{Refusal, Situation},
    repo::{Access, Repo},
};

/// How an invalid token is treated if none is needed. Sources differ on what the Hub does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BadTokens {
    /// 401 everywhere, public repos too.
    #[default]
    Refused,
    /// Public repos are served as without a token.
    Ignored,
}

/// Users, tokens and repos.
#[derive(Debug)]
pub(crate) struct State {
    users: BTreeMap<String, User>,
    tokens: BTreeMap<String, Holder>,
    repos: BTreeMap<RepoName, Repo>,
    pub(crate) bad_tokens: BadTokens,
    pub(crate) page_size: Option<usize>,
    pub(crate) resolve_cache: bool,
    pub(crate) xet_store: Option<XetStore>,
}

/// The address of the Xet store, and the lifetime of its tokens. The store itself is separate.
#[derive(Debug)]
pub(crate) struct XetStore {
    pub(crate) url: String,
    pub(crate) token_lifetime: Duration,
    granted: AtomicU64,
}

impl XetStore {
    pub(crate) fn new(url: String, token_lifetime: Duration) -> Self {
        Self { url, token_lifetime, granted: AtomicU64::new(0) }
    }

    /// A new token of the store, and its expiry.
    pub(crate) fn grant(&self) -> (String, u64) {
        let number = self.granted.fetch_add(1, Ordering::Relaxed) + 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (format!("xet_token_{number}"), (now + self.token_lifetime).as_secs())
    }
}

#[derive(Debug)]
struct Holder {
    user: String,
    token: Token,
}

/// The caller of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    Anonymous,
    User { name: &'a str, token: &'a Token },
    BadToken(Bad<'a>),
}

/// Why a token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad<'a> {
    Unknown,
    /// It looks like a token of `hf auth login`, but its signature is not the Hub's.
    ForeignOauth,
    /// With its name.
    Expired(&'a str),
}

impl Caller<'_> {
    fn refused(self) -> Refusal {
        match self {
            Self::Anonymous | Self::User { .. } => Refusal::of(Situation::LoginRequired, &[]),
            Self::BadToken(Bad::Unknown) => Refusal::of(Situation::UnknownToken, &[]),
            Self::BadToken(Bad::ForeignOauth) => Refusal::of(Situation::ForeignOauthToken, &[]),
            Self::BadToken(Bad::Expired(name)) => Refusal::of(Situation::ExpiredToken, &[("token", name)]),
        }
    }
}

/// The result of looking up a name.
pub(crate) enum Found<'a> {
    Repo(&'a Repo),
    /// The repo has another name now.
    Moved(&'a RepoName),
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            repos: BTreeMap::new(),
            bad_tokens: BadTokens::default(),
            page_size: None,
            resolve_cache: true,
            xet_store: None,
        }
    }

    pub(crate) fn user(&mut self, name: &str) -> &mut User {
        self.users.entry(name.to_owned()).or_default()
    }

    pub(crate) fn add_token(&mut self, user: &str, token: Token) {
        self.user(user);
        self.tokens.insert(token.secret.clone(), Holder { user: user.to_owned(), token });
    }

    pub(crate) fn remove_token(&mut self, secret: &str) -> Result<(), String> {
        self.tokens.remove(secret).map(|_| ()).ok_or_else(|| "there is no such token".to_owned())
    }

    pub(crate) fn knows_token_in(&self, text: &str) -> bool {
        self.tokens.keys().any(|secret| text.contains(secret.as_str()))
    }

    pub(crate) fn add(&mut self, repo: Repo) -> Result<(), String> {
        let repo = repo.finished()?;
        self.repos.insert(repo.name.clone(), repo);
        Ok(())
    }

    pub(crate) fn update(
        &mut self,
        name: &RepoName,
        change: impl FnOnce(Repo) -> Repo,
    ) -> Result<(), String> {
        let repo = self.repo(name)?.clone();
        self.add(change(repo))
    }

    pub(crate) fn remove(&mut self, name: &RepoName) -> Result<(), String> {
        self.repos.remove(name).map(|_| ()).ok_or_else(|| format!("there is no repo {name}"))
    }

    pub(crate) fn rename(&mut self, old: &RepoName, new: &RepoName) -> Result<(), String> {
        let mut repo = self.repo(old)?.clone();
        self.repos.remove(old);
        repo.name = new.clone();
        self.add(repo.formerly(old))
    }

    pub(crate) fn repo(&self, name: &RepoName) -> Result<&Repo, String> {
        self.repos.get(name).ok_or_else(|| format!("there is no repo {name}"))
    }

    pub(crate) fn object(&self, name: &RepoName, sha256: &str) -> Option<Content> {
        self.repos.get(name)?.object(sha256).cloned()
    }

    /// The caller with this Authorization header.
    pub(crate) fn caller<'a>(&'a self, authorization: Option<&str>) -> Caller<'a> {
        let Some(authorization) = authorization else { return Caller::Anonymous };
        let secret = authorization.strip_prefix("Bearer ").unwrap_or(authorization).trim();
        match self.tokens.get(secret) {
            None if secret.starts_with("hf_oauth_") => Caller::BadToken(Bad::ForeignOauth),
            None => Caller::BadToken(Bad::Unknown),
            Some(Holder { token, .. }) if token.kind == TokenKind::Expired => {
                Caller::BadToken(Bad::Expired(&token.name))
            }
            Some(Holder { user, token }) => Caller::User { name: user, token },
        }
    }

    /// The account of a caller, for `whoami`.
    pub(crate) fn account<'a>(
        &'a self,
        caller: Caller<'a>,
    ) -> Result<(&'a str, &'a User, &'a Token), Refusal> {
        match caller {
            Caller::User { name, token } => self
                .users
                .get(name)
                .map(|user| (name, user, token))
                .ok_or_else(|| Refusal::of(Situation::UnknownToken, &[])),
            caller => Err(caller.refused()),
        }
    }

    /// Finds a repo by its name, a former one, or in another case.
    fn known(&self, name: &RepoName) -> Option<&Repo> {
        let elsewhere =
            |repo: &&Repo| repo.former_names.contains(name) || repo.name.differs_in_case_only(name);
        self.repos.get(name).or_else(|| self.repos.values().find(elsewhere))
    }

    /// The refusal for all requests for files, regardless of the caller.
    pub(crate) fn closed_to_all(&self, name: &RepoName) -> Option<Refusal> {
        let repo = self.known(name).filter(|repo| repo.region_blocked)?;
        Some(Refusal::about(Situation::BlockedRegion, &repo.name))
    }

    /// The repo, if it is visible to the caller. Its content may still require access.
    pub(crate) fn visible(&self, name: &RepoName, caller: Caller<'_>) -> Result<Found<'_>, Refusal> {
        let repo = self.known(name);
        if let Caller::BadToken(bad) = caller {
            let seen_by_all = repo.filter(|repo| !repo.private);
            // At a gate, the Hub treats an unknown token like none.
            let ignored = match bad {
                Bad::Unknown => seen_by_all.is_some_and(|repo| repo.gate.is_some()),
                Bad::ForeignOauth | Bad::Expired(_) => false,
            };
            let ignored_by_choice =
                self.bad_tokens == BadTokens::Ignored && seen_by_all.is_some_and(|repo| repo.gate.is_none());
            if !ignored && !ignored_by_choice {
                return Err(caller.refused());
            }
        }
        let Some(repo) = repo.filter(|repo| !repo.private || self.belongs(repo, caller)) else {
            return Err(match caller {
                Caller::User { .. } => Refusal::of(Situation::RepoNotFound, &[]),
                _ => Refusal::of(Situation::LoginRequired, &[]),
            });
        };
        if let Caller::User { token, .. } = caller {
            let here = |org: &String| repo.name.namespace() == Some(org);
            match &token.kind {
                TokenKind::RevokedBy(org) if here(org) => {
                    return Err(Refusal::of(Situation::RevokedByOrganization, &[]));
                }
                TokenKind::NotApprovedBy(org) if here(org) => {
                    return Err(Refusal::of(Situation::OrganizationApproval, &[]));
                }
                _ => {}
            }
        }
        if let Some(words) = &repo.refused {
            return Err(Refusal::in_words(words));
        }
        Ok(if repo.name == *name { Found::Repo(repo) } else { Found::Moved(&repo.name) })
    }

    /// Whether the caller may read the content of a visible repo: the result of `auth-check`.
    pub(crate) fn readable(&self, repo: &Repo, caller: Caller<'_>) -> Result<(), Refusal> {
        self.through_gate(repo, caller)?;
        if repo.disabled { Err(Refusal::of(Situation::Disabled, &[])) } else { Ok(()) }
    }

    fn through_gate(&self, repo: &Repo, caller: Caller<'_>) -> Result<(), Refusal> {
        if repo.gate.is_none() {
            return Ok(());
        }
        let (name, token) = match caller {
            Caller::User { name, token } => (name, token),
            Caller::Anonymous => return Err(Refusal::about(Situation::GateNeedsLogin, &repo.name)),
            Caller::BadToken(_) => return Err(Refusal::about(Situation::UnknownTokenAtGate, &repo.name)),
        };
        if token.kind == (TokenKind::FineGrained { gated: false }) {
            return Err(Refusal::of(Situation::NoGatedPermission, &[]));
        }
        if self.belongs(repo, caller) {
            return Ok(());
        }
        match repo.access.get(name).copied().unwrap_or_default() {
            Access::Accepted => Ok(()),
            access => Err(Refusal::gate_closed(&repo.name, access)),
        }
    }

    /// Owner, member of the owning organisation, or named member.
    fn belongs(&self, repo: &Repo, caller: Caller<'_>) -> bool {
        let Caller::User { name, .. } = caller else { return false };
        let owner = repo.name.namespace();
        repo.members.contains(name)
            || owner == Some(name)
            || self.users.get(name).is_some_and(|user| owner.is_some_and(|org| user.orgs.contains(org)))
    }
}
