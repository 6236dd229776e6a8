//! How large the head of a message may be: one limit, for every version of HTTP and every way that
//! a message takes.

use http::{HeaderMap, Request, Response};

/// Bytes of a head: names and values, and 32 for each field (RFC 9113, section 6.5.2).
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// Fields of a head.
pub(crate) const MAX_FIELDS: usize = 200;

/// For what workers add to the head of a request that they forward, and what comes with it.
const FORWARDED_BYTES: usize = 8 << 10;
const FORWARDED_FIELDS: usize = 8;

const FIELD: usize = 32;

/// A head that does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadTooLarge {
    #[error(
        "the head has {0} bytes, and may have {MAX_HEAD} (names and values, and {FIELD} for each field)"
    )]
    Bytes(usize),
    #[error("the head has {0} fields, and may have {MAX_FIELDS}")]
    Fields(usize),
}

/// Whether a client's request passes.
pub(crate) fn request<B>(request: &Request<B>) -> Result<(), HeadTooLarge> {
    check(request.headers(), line(request), 0, 0)
}

/// Whether a request that another worker has let pass does so here.
pub(crate) fn forwarded<B>(request: &Request<B>) -> Result<(), HeadTooLarge> {
    let line = line(request);
    check(request.headers(), line, FORWARDED_BYTES, FORWARDED_FIELDS)
}

/// Whether a guest's answer passes.
pub(crate) fn response<B>(response: &Response<B>) -> Result<(), HeadTooLarge> {
    const STATUS: usize = ":status".len() + 3 + FIELD;
    check(response.headers(), STATUS, 0, 0)
}

/// Whether the trailers of a body pass.
pub(crate) fn trailers(trailers: &HeaderMap) -> Result<(), HeadTooLarge> {
    check(trailers, 0, 0, 0)
}

/// What is not among the fields of HTTP/1.1, as HTTP/2 counts it.
fn line<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
    let method = ":method".len() + request.method().as_str().len() + FIELD;
    let path = ":path".len() + path + FIELD;
    let authority = uri.authority().map_or(0, |authority| {
        ":authority".len() + authority.as_str().len() + FIELD
    });
    method + path + authority
}

fn check(
    headers: &HeaderMap,
    line: usize,
    more_bytes: usize,
    more_fields: usize,
) -> Result<(), HeadTooLarge> {
    if headers.len() > MAX_FIELDS + more_fields {
        return Err(HeadTooLarge::Fields(headers.len()));
    }
    let fields = headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    let bytes = line + fields.sum::<usize>();
    match bytes > MAX_HEAD + more_bytes {
        true => Err(HeadTooLarge::Bytes(bytes)),
        false => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn with(fields: usize, value: usize) -> Request<()> {
        let mut request = Request::get("http://a/").body(()).unwrap();
        for field in 0..fields {
            let name = HeaderName::try_from(format!("x-{field:05}")).unwrap();
            let value = HeaderValue::try_from("v".repeat(value)).unwrap();
            request.headers_mut().insert(name, value);
        }
        request
    }

    #[test]
    fn a_head_passes_up_to_its_limits() {
        assert_eq!(request(&with(MAX_FIELDS, 1)), Ok(()));
        let one_more = with(MAX_FIELDS + 1, 1);
        assert_eq!(request(&one_more), Err(HeadTooLarge::Fields(201)));
        assert_eq!(forwarded(&one_more), Ok(()));

        let line = 7 + 3 + 32 + 5 + 1 + 32 + 10 + 1 + 32;
        let full = with(1, MAX_HEAD - line - 7 - 32);
        assert_eq!(request(&full), Ok(()));
        let one_more = with(1, MAX_HEAD - line - 7 - 32 + 1);
        assert_eq!(request(&one_more), Err(HeadTooLarge::Bytes(MAX_HEAD + 1)));
        assert_eq!(forwarded(&one_more), Ok(()));

        let mut answer = Response::new(());
        *answer.headers_mut() = one_more.headers().clone();
        assert_eq!(response(&answer), Ok(()));
        *answer.headers_mut() = with(1, MAX_HEAD).headers().clone();
        assert!(response(&answer).is_err() && trailers(answer.headers()).is_err());
    }
}
