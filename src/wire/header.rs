//! Names of headers, in lower case as HTTP/2 and the `http` crate have them.

/// What a refusal is about, as one word; `hf_raise_for_status` of `huggingface_hub` decides by it.
pub const ERROR_CODE: &str = "x-error-code";

/// The Hub's own words for a refusal, which `hf_raise_for_status` prints.
pub const ERROR_MESSAGE: &str = "x-error-message";

/// What is left of a quota: `"api";r=0;t=55` (draft-ietf-httpapi-ratelimit-headers-09, as `parse_ratelimit_headers` of
/// `huggingface_hub` reads it).
pub const RATE_LIMIT: &str = "ratelimit";
