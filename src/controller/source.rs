//! A spec's source, parsed: from here on names, patterns and the endpoint are good. Pure.

use crate::{
    api::ModelCacheSpec,
    hub::{Endpoint, Patterns, Repo, Revision},
    reason::{Reason, Topic, Verdict},
};

/// What a spec asks for, in types that cannot be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The repo.
    pub repo: Repo,
    /// The revision.
    pub revision: Revision,
    /// Further refs to write.
    pub aliases: Vec<Revision>,
    /// Which files.
    pub patterns: Patterns,
    /// One of the operator's endpoints.
    pub endpoint: Endpoint,
}

impl Wanted {
    /// Parses a spec. The first of the operator's endpoints is the default one.
    pub fn parse(spec: &ModelCacheSpec, endpoints: &[Endpoint]) -> Result<Self, Verdict> {
        let source = &spec.source;
        let name_error = |error: crate::hub::NameError| unresolved(error.reason(), &error);
        let endpoint = endpoint(source.endpoint.as_deref(), endpoints)?;
        Ok(Self {
            repo: source.hub_repo().map_err(name_error)?,
            revision: source.hub_revision().map_err(name_error)?,
            aliases: source
                .aliases
                .iter()
                .map(|alias| alias.parse())
                .collect::<Result<_, _>>()
                .map_err(name_error)?,
            patterns: Patterns::parse(&source.include, &source.exclude)
                .map_err(|error| unresolved(Reason::InvalidPattern, &error))?,
            endpoint,
        })
    }

    /// The refs that shall stand for the commit on the volume: the revision itself unless it is a commit, and the aliases.
    #[must_use]
    pub fn refs(&self) -> Vec<Revision> {
        let named = [self.revision.clone()].into_iter().chain(self.aliases.iter().cloned());
        named.filter(|name| name.as_commit().is_none()).collect()
    }
}

fn unresolved(reason: Reason, error: &dyn std::fmt::Display) -> Verdict {
    Verdict::no(Topic::Resolved, reason, format!("The spec cannot be used: {error}."))
}

/// The verdict on an endpoint that is not one of the operator's.
pub fn not_allowed(asked: &str, allowed: &[Endpoint]) -> Verdict {
    let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let message = format!(
        "The operator sends no token to {}. Use one of its endpoints ({}), or have it added there.",
        asked.escape_debug(),
        names.join(", ")
    );
    Verdict::no(Topic::Authorized, Reason::EndpointNotAllowed, message)
}

/// A token goes to no address that the operator's owner has not named.
fn endpoint(asked: Option<&str>, allowed: &[Endpoint]) -> Result<Endpoint, Verdict> {
    let Some(asked) = asked else {
        return allowed.first().cloned().ok_or_else(|| not_allowed("any address", allowed));
    };
    let found = asked
        .parse::<Endpoint>()
        .ok()
        .and_then(|asked| allowed.iter().find(|one| one.as_str() == asked.as_str()));
    found.cloned().ok_or_else(|| not_allowed(asked, allowed))
}
