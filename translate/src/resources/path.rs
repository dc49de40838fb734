//! The stored objects of a provider that a URL names.

use crate::endpoint::Endpoint;
use crate::error::ApiError;

/// Query parameters that hold the id of an object: the cursors of OpenAI's and Anthropic's lists.
const CURSORS: [&str; 4] = ["after", "before", "after_id", "before_id"];

/// Names of stored collections in providers' APIs. A path that contains one reaches data shared by
/// all callers of the provider.
const STORED: [&str; 52] = [
    "agents",
    "assistants",
    "async-invoke",
    "batch",
    "batches",
    "batchjobs",
    "batchpredictionjobs",
    "cachedcontents",
    "chatkit",
    "client_secrets",
    "connectors",
    "containers",
    "conversations",
    "corpora",
    "custommodels",
    "datasets",
    "endpoints",
    "evals",
    "experiments",
    "filesearchstores",
    "file",
    "files",
    "fine-tunes",
    "fine-tuning",
    "fine_tunes",
    "fine_tuning",
    "finetune",
    "finetuned-models",
    "finetunes",
    "finetuning",
    "interactions",
    "jobs",
    "libraries",
    "model-customization-jobs",
    "model-invocation-job",
    "model-invocation-jobs",
    "operations",
    "organization",
    "organizations",
    "projects",
    "prompts",
    "runs",
    "sessions",
    "skills",
    "threads",
    "tunedmodels",
    "tuningjobs",
    "upload",
    "uploads",
    "vector_stores",
    "videos",
    "voices",
];

/// Methods of Google's APIs that reach stored objects, after the colon of a path.
const STORED_METHODS: [&str; 4] = [
    "fetchpredictoperation",
    "predictlongrunning",
    "batchgeneratecontent",
    "asyncbatchembedcontent",
];

/// The object that a path below an endpoint names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourcePath<'a> {
    Collection,
    Object {
        id: &'a str,
        /// Part after the id, such as `content` or `cancel`.
        action: Option<&'a str>,
    },
}

impl<'a> ResourcePath<'a> {
    /// Parses a path without its query. Returns a 404 for a path that no provider's objects have.
    pub fn parse(endpoint: Endpoint, path: &'a str) -> Result<Self, ApiError> {
        let unknown = || {
            let message = format!("Not found: {path}");
            ApiError::new(404, message).with_code("unknown_url")
        };
        let rest = path.strip_prefix(endpoint.path()).ok_or_else(unknown)?;
        let Some(rest) = rest.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
            return Ok(Self::Collection);
        };
        let mut parts = rest.split('/');
        let (Some(id), action, None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unknown());
        };
        if !is_plain(id) {
            return Err(super::not_found(id));
        }
        if action.is_some_and(|action| !is_plain(action)) {
            return Err(unknown());
        }
        Ok(Self::Object { id, action })
    }
}

/// Returns true if a path segment means the same to every server: nothing in it is escaped.
fn is_plain(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !part.is_empty() && part.len() <= 256 && part.bytes().all(is_plain)
}

/// Returns the ids that a query uses as cursors.
pub fn cursors(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, value)| !value.is_empty() && CURSORS.contains(&decode(name).as_str()))
        .map(|(_, value)| decode(value))
        .collect()
}

/// Returns the `limit` of a query.
pub fn page_size(query: &str) -> Option<usize> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == "limit")?.1.parse().ok()
}

/// Returns a query for the page after an id, with all other parameters unchanged.
pub fn next_query(query: &str, cursor: &str, after: &str, limit: usize) -> String {
    let is_kept = |pair: &&str| {
        let name = decode(pair.split('=').next().unwrap_or_default());
        !pair.is_empty() && name != "limit" && !CURSORS.contains(&name.as_str())
    };
    let mut parts: Vec<String> = query
        .split('&')
        .filter(is_kept)
        .map(str::to_owned)
        .collect();
    parts.push(format!("limit={limit}"));
    parts.push(format!("{cursor}={}", encode(after)));
    parts.join("&")
}

/// Checks that a proxied request reaches nothing that a provider stores for all callers: only model
/// calls and the list of models are allowed.
pub fn check_stateless(method: &str, path: &str) -> Result<(), ApiError> {
    let path = path.split('?').next().unwrap_or_default();
    let decoded = decode(path).to_ascii_lowercase();
    let parts: Vec<&str> = decoded
        .split(['/', '\\'])
        .map(|part| part.split(';').next().unwrap_or_default())
        .filter(|part| !part.is_empty())
        .collect();
    let is_stored = |part: &&str| {
        let (name, verb) = part.split_once(':').unwrap_or((part, ""));
        STORED.contains(&name) || STORED_METHODS.contains(&verb)
    };
    let is_stored = parts.iter().any(is_stored) && !is_vertex(&parts);
    // A response or a completion can be created, but paths below one read or change it.
    let is_below_answer = parts
        .iter()
        .position(|part| matches!(*part, "responses" | "completions"))
        .is_some_and(|position| position + 1 < parts.len());
    // A doubly escaped id means different things here and at the provider.
    let is_plain = !decoded.contains('%');
    let is_allowed = match method {
        "POST" => true,
        "GET" | "HEAD" => parts.contains(&"models"),
        _ => false,
    };
    if is_allowed && is_plain && !is_stored && !is_below_answer {
        return Ok(());
    }
    let message = format!(
        "{method} {path} may reach objects that other keys have stored at the provider. Use /v1/files and /v1/batches, or a key with the role `admin`"
    );
    Err(ApiError::new(403, message).with_code("shared_resource"))
}

/// Returns true for a path of a model in Vertex AI; these all begin with a project.
fn is_vertex(parts: &[&str]) -> bool {
    let after = parts.iter().skip_while(|part| **part != "projects");
    match after.copied().collect::<Vec<_>>().as_slice() {
        [
            "projects",
            _,
            "locations",
            _,
            "publishers",
            _,
            "models",
            model,
        ] => {
            let verb = model.split_once(':').map_or("", |(_, verb)| verb);
            !STORED_METHODS.contains(&verb)
        }
        // OpenAI's format at Vertex AI.
        [
            "projects",
            _,
            "locations",
            _,
            "endpoints",
            _,
            "chat",
            "completions",
        ] => true,
        _ => false,
    }
}

/// Decodes percent-escapes; invalid ones stay as they are.
pub fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits
            .filter(|digits| byte == b'%' && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(escaped) => {
                out.push(escaped);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<(&str, Option<&str>), u16> {
        match ResourcePath::parse(Endpoint::Files, path) {
            Ok(ResourcePath::Collection) => Ok(("", None)),
            Ok(ResourcePath::Object { id, action }) => Ok((id, action)),
            Err(error) => Err(error.status),
        }
    }

    #[test]
    fn a_path_names_the_collection_or_one_object() {
        assert_eq!(parse("/v1/files"), Ok(("", None)));
        assert_eq!(parse("/v1/files/"), Ok(("", None)));
        assert_eq!(parse("/v1/files/file-1"), Ok(("file-1", None)));
        assert_eq!(
            parse("/v1/files/file-1/content"),
            Ok(("file-1", Some("content")))
        );
        for odd in [
            "/v1/files/file%2D1",
            "/v1/files//file-1",
            "/v1/files/file-1/",
            "/v1/files/file-1/content/x",
            "/v1/files/file-1;x",
            "/v1/files/file-1/%63ontent",
        ] {
            assert_eq!(parse(odd), Err(404), "{odd}");
        }
    }

    #[test]
    fn cursors_of_a_query_are_ids() {
        assert_eq!(
            cursors("limit=2&after=file%2D1&purpose=batch&bef%6fre=x&after="),
            ["file-1", "x"]
        );
        assert_eq!(page_size("after=x&limit=20"), Some(20));
        assert_eq!(page_size("limit=x"), None);
    }

    #[test]
    fn the_next_page_keeps_the_other_parameters() {
        assert_eq!(
            next_query(
                "limit=2&purpose=batch&after=a&order=asc",
                "after",
                "b c",
                100
            ),
            "purpose=batch&order=asc&limit=100&after=b%20c"
        );
        assert_eq!(next_query("", "after_id", "b", 5), "limit=5&after_id=b");
    }

    #[test]
    fn a_proxied_path_reaches_nothing_that_is_stored() {
        for (method, path) in [
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/responses"),
            ("POST", "/model/amazon.titan-embed-text-v2%3A0/invoke"),
            ("POST", "/v1beta/models/gemini-2.5-pro:generateContent"),
            (
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/g:predict",
            ),
            ("GET", "/v1/models/gpt-4o"),
            ("GET", "/v1/models?limit=1"),
        ] {
            assert!(check_stateless(method, path).is_ok(), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/v1/files"),
            ("GET", "/v1/files/file-1/content"),
            ("GET", "/v1/%66iles"),
            ("GET", "/v1//FILES/"),
            ("GET", "/v1/files;a=b"),
            ("POST", "/v1/files"),
            ("DELETE", "/v1/files/file-1"),
            ("POST", "/v1/batches"),
            ("POST", "/v1/messages/batches"),
            ("POST", "/v1/uploads/u/parts"),
            ("GET", "/v1/vector_stores"),
            ("POST", "/v1/vector_stores/v/search"),
            ("GET", "/v1/fine_tuning/jobs"),
            ("GET", "/v1/responses/resp_1"),
            ("POST", "/v1/responses/resp_1/cancel"),
            ("GET", "/v1/chat/completions"),
            ("POST", "/v1/chat/completions/../files"),
            ("GET", "/v1/videos/video_1"),
            ("GET", "/v1/containers"),
            ("GET", "/v1/organization/admin_api_keys"),
            ("DELETE", "/v1/models/ft:mine"),
            ("POST", "/upload/v1beta/files"),
            ("POST", "/v1beta/cachedContents"),
            ("GET", "/v1/projects/p/locations/l/batchPredictionJobs"),
            ("POST", "/v1/projects/p/locations/l/batchPredictionJobs"),
            (
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/veo:fetchPredictOperation",
            ),
            ("POST", "/v1beta/models/veo:predictLongRunning"),
            ("PATCH", "/v1/own/thing"),
            ("POST", "/v1/chat/completions/chatcmpl-1"),
            ("POST", "/v1/%2566iles"),
        ] {
            let error = check_stateless(method, path).unwrap_err();
            assert_eq!(error.status, 403, "{method} {path}");
        }
    }
}
