//! A spec's source, parsed: from here on names, patterns and the endpoint are good. Pure.

use crate::{
    api::ModelCacheSpec,
    hub::{Endpoint, Patterns, Repo, Revision},
    reason::{ConditionType, Reason, Verdict},
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
}

impl Wanted {
    /// Parses a spec.
    pub fn parse(spec: &ModelCacheSpec) -> Result<Self, Verdict> {
        let source = &spec.source;
        let name_error = |error: crate::hub::NameError| unresolved(error.reason(), &error);
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
        })
    }

    /// The refs to point to the commit on the volume: the revision itself unless it is a commit, and the aliases.
    #[must_use]
    pub fn refs(&self) -> Vec<Revision> {
        let named = [self.revision.clone()].into_iter().chain(self.aliases.iter().cloned());
        named.filter(|name| name.as_commit().is_none()).collect()
    }
}

fn unresolved(reason: Reason, error: &dyn std::fmt::Display) -> Verdict {
    Verdict::no(ConditionType::Resolved, reason, format!("The spec cannot be used: {error}."))
}

/// The place of the endpoint to ask among the operator's, the first of which is the default. A token goes to no address that
/// the operator's owner has not named.
pub fn endpoint(spec: &ModelCacheSpec, allowed: &[Endpoint]) -> Result<usize, Verdict> {
    let (asked, found) = match spec.source.endpoint.as_deref().map(str::parse::<Endpoint>) {
        None => ("any address".to_owned(), (!allowed.is_empty()).then_some(0)),
        Some(Ok(asked)) => (asked.to_string(), allowed.iter().position(|one| one.as_str() == asked.as_str())),
        // Not repeated: what is no address may be a secret in the wrong place.
        Some(Err(_)) => ("what spec.source.endpoint says".to_owned(), None),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = allowed.iter().map(Endpoint::as_str).collect();
        let message = format!(
            "The operator sends no token to {asked}. Use one of its endpoints ({}), or ask the operator's owner to add this one.",
            names.join(", ")
        );
        Verdict::no(ConditionType::Authorized, Reason::EndpointNotAllowed, message)
    })
}
