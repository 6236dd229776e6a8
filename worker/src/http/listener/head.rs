//! Checks whether the head of a request is within the limits.

use http::Request;

use crate::http::limit::{FIELD_OVERHEAD, HeadTooLarge, MAX_FIELDS, MAX_HEAD, head_size};

/// The bytes that a worker may add to the head of a request that it forwards, which was within the
/// limits before.
const FORWARDED_BYTES: usize = 8 << 10;
const FORWARDED_FIELDS: usize = 8;

/// Checks the head of a client's request, or of one that another worker has already checked.
pub(super) fn check<B>(request: &Request<B>, forwarded: bool) -> Result<(), HeadTooLarge> {
    let (more_bytes, more_fields) = match forwarded {
        true => (FORWARDED_BYTES, FORWARDED_FIELDS),
        false => (0, 0),
    };
    let headers = request.headers();
    if headers.len() > MAX_FIELDS + more_fields {
        return Err(HeadTooLarge::Fields(headers.len()));
    }
    let size = line(request) + head_size(headers);
    match size > MAX_HEAD as usize + more_bytes {
        true => Err(HeadTooLarge::Bytes(size)),
        false => Ok(()),
    }
}

/// Returns the size of the parts that are not fields in HTTP/1.1, as HTTP/2 counts them.
fn line<B>(request: &Request<B>) -> usize {
    let field = |name: &str, size: usize| name.len() + size + FIELD_OVERHEAD;
    let uri = request.uri();
    let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
    let authority = uri.authority().map(|authority| authority.as_str().len());
    field(":method", request.method().as_str().len())
        + field(":path", path)
        + authority.map_or(0, |size| field(":authority", size))
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
        assert_eq!(check(&with(MAX_FIELDS, 1), false), Ok(()));
        let one_more = with(MAX_FIELDS + 1, 1);
        assert_eq!(check(&one_more, false), Err(HeadTooLarge::Fields(201)));
        assert_eq!(check(&one_more, true), Ok(()));

        let line = 7 + 3 + 32 + 5 + 1 + 32 + 10 + 1 + 32;
        let full = MAX_HEAD as usize - line - 7 - 32;
        assert_eq!(check(&with(1, full), false), Ok(()));
        let one_more = with(1, full + 1);
        let size = MAX_HEAD as usize + 1;
        assert_eq!(check(&one_more, false), Err(HeadTooLarge::Bytes(size)));
        assert_eq!(check(&one_more, true), Ok(()));
        assert!(check(&with(1, full + FORWARDED_BYTES + 1), true).is_err());
    }
}
