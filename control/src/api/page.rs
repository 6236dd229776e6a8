//! Pages of lists: tokens name the last item of the page before.

use prost::Message;
use tonic::Status;

use super::error;

const DEFAULT_SIZE: u32 = 500;
const MAX_SIZE: u32 = 1000;
/// Below the 4 MiB that gRPC clients take by default.
const MAX_BYTES: usize = 3 * 1024 * 1024;
/// Tag and length of an item.
const FRAMING: usize = 8;

/// How many items a page holds: what was asked for within bounds, as Google's API design guide (AIP-158) says.
pub(super) fn size(asked: u32) -> usize {
    let size = if asked == 0 {
        DEFAULT_SIZE
    } else {
        asked.min(MAX_SIZE)
    };
    size as usize
}

/// A token after which the next page begins. Opaque, so that no client makes one up.
pub(super) fn token(last: &str) -> String {
    hex::encode(last)
}

/// What a token says; `None` for the first page.
pub(super) fn after<T>(
    token: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    hex::decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|last| parse(&last))
        .map(Some)
        .ok_or_else(|| {
            error::invalid_field(
                "page_token",
                "should be `next_page_token` of the page before",
            )
        })
}

/// Cuts a list that was asked for with one item more than the page holds, and where it would not fit into a message.
/// Whether more follow.
pub(super) fn cut<M: Message>(items: &mut Vec<M>, size: usize) -> bool {
    let mut bytes = 0;
    let fitting = items.iter().take_while(|item| {
        let first = bytes == 0;
        bytes += item.encoded_len() + FRAMING;
        first || bytes <= MAX_BYTES
    });
    let keep = size.min(fitting.count());
    let more = items.len() > keep;
    items.truncate(keep);
    more
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back_and_others_refused() {
        let parse = |text: &str| Some(text.to_owned());
        assert_eq!(after("", parse).unwrap(), None);
        assert_eq!(
            after(&token("default/a"), parse).unwrap(),
            Some("default/a".to_owned())
        );
        assert!(after("zz", parse).is_err());
        assert!(after(&token("x"), |_| None::<()>).is_err());
    }

    #[test]
    fn a_page_fits_into_a_message_and_is_never_empty() {
        let large = "x".repeat(MAX_BYTES / 2);
        let mut items = vec![large.clone(), large.clone(), large];
        assert!(cut(&mut items, 10));
        assert_eq!(items.len(), 1);
        let mut items = vec!["x".repeat(MAX_BYTES * 2)];
        assert!(!cut(&mut items, 10));
        let mut items = vec![String::new(); 4];
        assert!(cut(&mut items, 3));
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn sizes_stay_within_bounds() {
        assert_eq!([size(0), size(7), size(9999)], [500, 7, 1000]);
    }
}
