//! How messages travel between the processes: protobuf, and checked against their bounds before they are decoded.

use crate::StorageError;
use crate::bounds::{self, Shaped};
use bytes::Buf as _;
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Bytes of a buffer to begin with. Most messages are small, and larger ones say how large they are. The usual 8 KiB come
/// from the slow part of the allocator, four times a call.
const BUFFER: usize = 512;

/// Bytes of a stream's messages that are encoded before they are sent.
const YIELD: usize = 32 << 10;

/// Encodes `T` and decodes `U`.
pub(crate) struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Shaped + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Encodes `T` into memory of just its size: a buffer that grows as it is filled takes up to three times that.
pub(crate) struct ExactEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|_| Status::internal("no room for a message"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}

/// Decodes `U`.
pub(crate) struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default + Shaped> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Shares the memory that the message came in, as its fields will.
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        bounds::decode(bytes).map(Some).map_err(|unbounded| StorageError::from(unbounded).into())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}
