//! The codec of every service: that of prost, and a limit on the memory that a request may take.

use std::marker::PhantomData;

use prost::{Message, Name, bytes::Buf as _};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::{decoded_size::decoded_size, json::descriptor_pool};

/// A request that is encoded in no more than this many bytes takes no more than some megabytes.
const SMALL: usize = 64 << 10;
/// The most memory that a request may take once it is decoded, in bytes.
const MAX_DECODED: usize = 64 << 20;

/// Encodes `T` and decodes `U`.
///
/// A `U` whose name ends in `Request` comes from a client: it is refused with `RESOURCE_EXHAUSTED`,
/// before it is decoded, if it would take more than 64 MiB. Responses are not limited here.
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

/// Decodes `U`; see [`BoundedCodec`].
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::default())
    }
}

impl<U: Message + Name + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, encoded: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // The buffer is one piece, so a chunk is all of it.
        check::<U>(encoded.chunk())?;
        self.0.decode(encoded)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

fn check<U: Name>(encoded: &[u8]) -> Result<(), Status> {
    if encoded.len() <= SMALL || !U::NAME.ends_with("Request") {
        return Ok(());
    }
    let Some(message) = descriptor_pool().get_message_by_name(&U::full_name()) else {
        return Ok(());
    };
    if decoded_size(&message, encoded, MAX_DECODED) <= MAX_DECODED {
        return Ok(());
    }
    Err(Status::resource_exhausted(format!(
        "a request of {} bytes would take more than {} MiB of memory: it holds too many items",
        encoded.len(),
        MAX_DECODED >> 20
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::v1;

    fn apply(components: usize) -> v1::ApplyRequest {
        v1::ApplyRequest {
            workload: Some(v1::Workload {
                spec: Some(v1::WorkloadSpec {
                    components: vec![v1::Component::default(); components],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_request_is_refused_by_the_memory_that_it_would_take() {
        let bomb = apply(200_000).encode_to_vec();
        let refused = check::<v1::ApplyRequest>(&bomb).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("64 MiB"), "{refused}");

        let many = apply(40_000).encode_to_vec();
        assert!(many.len() > SMALL);
        check::<v1::ApplyRequest>(&many).unwrap();

        let mut large = apply(1);
        large.workload.as_mut().unwrap().labels = [("a".to_owned(), "b".repeat(3 << 20))].into();
        check::<v1::ApplyRequest>(&large.encode_to_vec()).unwrap();
    }

    #[test]
    fn responses_are_not_limited() {
        let response = v1::ListReplicasResponse {
            replicas: vec![v1::Replica::default(); 200_000],
            ..Default::default()
        };
        check::<v1::ListReplicasResponse>(&response.encode_to_vec()).unwrap();
    }
}
