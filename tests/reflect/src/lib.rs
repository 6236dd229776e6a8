//! A gRPC client that knows nothing of the server it talks to but what server reflection tells: it
//! depends on no generated code. Requests and responses are the protobuf JSON mapping.

mod codec;
mod descriptors;

use anyhow::{Context as _, anyhow, bail};
use futures::{Stream, StreamExt as _, stream};
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use serde_json::Value;
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use codec::DynamicCodec;

/// A connection, and what its server says it can do.
pub struct Client {
    channel: Channel,
    services: Vec<String>,
    pool: DescriptorPool,
}

// === impl Client ===

impl Client {
    /// Connects and reads the descriptors of every service.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
        let (services, pool) = descriptors::read(channel.clone()).await?;
        Ok(Self {
            channel,
            services,
            pool,
        })
    }

    /// Full names, as the server lists them.
    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// The full names of a service's methods, as calls take them: `package.Service/Method`.
    pub fn methods(&self, service: &str) -> Vec<String> {
        let service = self.pool.get_service_by_name(service);
        service.map_or_else(Vec::new, |service| {
            let methods = service.methods();
            methods
                .map(|method| format!("{}/{}", service.full_name(), method.name()))
                .collect()
        })
    }

    /// Calls a method that takes one message and answers with one.
    pub async fn call(&self, method: &str, request: Value) -> anyhow::Result<Value> {
        let method = self.method(method)?;
        let request = message(method.input(), request)?;
        let codec = DynamicCodec::of(&method);
        let mut grpc = self.ready().await?;
        let response = grpc
            .unary(Request::new(request), path(&method)?, codec)
            .await?;
        json(&response.into_inner())
    }

    /// Calls a method that takes many messages and answers with one.
    pub async fn upload(&self, method: &str, requests: Vec<Value>) -> anyhow::Result<Value> {
        let method = self.method(method)?;
        let requests = requests
            .into_iter()
            .map(|request| message(method.input(), request))
            .collect::<Result<Vec<_>, _>>()?;
        let codec = DynamicCodec::of(&method);
        let mut grpc = self.ready().await?;
        let requests = Request::new(stream::iter(requests));
        let response = grpc
            .client_streaming(requests, path(&method)?, codec)
            .await?;
        json(&response.into_inner())
    }

    /// Calls a method that takes one message and answers with many.
    pub async fn watch(
        &self,
        method: &str,
        request: Value,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Value>> + Unpin + use<>> {
        let method = self.method(method)?;
        let request = message(method.input(), request)?;
        let codec = DynamicCodec::of(&method);
        let mut grpc = self.ready().await?;
        let response = grpc
            .server_streaming(Request::new(request), path(&method)?, codec)
            .await?;
        let messages = response.into_inner();
        Ok(messages.map(|message| json(&message?)))
    }

    async fn ready(&self) -> anyhow::Result<Grpc<Channel>> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.context("the connection broke")?;
        Ok(grpc)
    }

    fn method(&self, name: &str) -> anyhow::Result<MethodDescriptor> {
        let (service, method) = name
            .split_once('/')
            .ok_or_else(|| anyhow!("`{name}` is not `package.Service/Method`"))?;
        let Some(service) = self.pool.get_service_by_name(service) else {
            bail!("the server has no service {service}");
        };
        let found = service.methods().find(|its| its.name() == method);
        found.ok_or_else(|| anyhow!("{} has no method {method}", service.full_name()))
    }
}

fn path(method: &MethodDescriptor) -> anyhow::Result<PathAndQuery> {
    let service = method.parent_service();
    Ok(format!("/{}/{}", service.full_name(), method.name()).parse()?)
}

fn message(kind: MessageDescriptor, value: Value) -> anyhow::Result<DynamicMessage> {
    let name = kind.full_name().to_owned();
    DynamicMessage::deserialize(kind, value).with_context(|| format!("this is no {name}"))
}

/// With every field, and 64-bit integers as strings, as the protobuf JSON mapping has them.
fn json(message: &DynamicMessage) -> anyhow::Result<Value> {
    let options = SerializeOptions::new()
        .skip_default_fields(false)
        .stringify_64_bit_integers(true);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}
