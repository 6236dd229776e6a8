//! A gRPC client that knows nothing of the server it talks to but what server reflection tells: it depends on no
//! generated code. Requests and responses are the protobuf JSON mapping.

mod codec;
mod descriptors;
mod details;

use anyhow::{Context as _, anyhow, bail};
use futures::{Stream, StreamExt as _, stream};
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use serde_json::Value;
use tonic::{
    Request, Status,
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
    /// Whether answers leave out fields that have their default value.
    terse: bool,
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
            terse: false,
        })
    }

    /// Answers leave out fields that have their default value, as most clients do.
    pub fn terse(self, terse: bool) -> Self {
        Self { terse, ..self }
    }

    /// What the services speak of.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// What the server knows of a name that its services do not speak of.
    pub async fn find(&self, symbol: &str) -> anyhow::Result<DescriptorPool> {
        descriptors::find(self.channel.clone(), symbol).await
    }

    /// The details of an error, each with its `@type`. The server is asked for their types.
    pub async fn details(&self, status: &Status) -> anyhow::Result<Vec<Value>> {
        let mut details = Vec::new();
        for any in details::of(status)? {
            let pool = self.find(details::name(&any)).await?;
            details.push(details::json(&any, &pool, self.options())?);
        }
        Ok(details)
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
        self.json(&response.into_inner())
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
        self.json(&response.into_inner())
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
        let options = self.options();
        Ok(messages.map(move |message| json(&message?, &options)))
    }

    /// 64-bit integers are strings, as the protobuf JSON mapping has it.
    fn options(&self) -> SerializeOptions {
        SerializeOptions::new()
            .skip_default_fields(self.terse)
            .stringify_64_bit_integers(true)
    }

    fn json(&self, message: &DynamicMessage) -> anyhow::Result<Value> {
        json(message, &self.options())
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

fn json(message: &DynamicMessage, options: &SerializeOptions) -> anyhow::Result<Value> {
    Ok(message.serialize_with_options(serde_json::value::Serializer, options)?)
}
