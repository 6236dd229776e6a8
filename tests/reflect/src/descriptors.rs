//! Reading a server's descriptors by `grpc.reflection.v1`.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use futures::stream;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// The services by name, and every type that they speak of.
pub async fn read(channel: Channel) -> anyhow::Result<(Vec<String>, DescriptorPool)> {
    let mut server = Server(ServerReflectionClient::new(channel));
    let services = server.services().await?;
    let mut files = BTreeMap::new();
    for service in &services {
        let request = MessageRequest::FileContainingSymbol(service.clone());
        server.collect(request, &mut files).await?;
    }
    Ok((services, server.complete(files).await?))
}

struct Server(ServerReflectionClient<Channel>);

/// By file name.
type Files = BTreeMap<String, FileDescriptorProto>;

fn missing(files: &Files) -> Option<String> {
    let mut imports = files.values().flat_map(|file| &file.dependency);
    imports.find(|name| !files.contains_key(*name)).cloned()
}

// === impl Server ===

impl Server {
    /// With what the files import: a server may answer with one file alone, and what it imports is
    /// asked for by name.
    async fn complete(&mut self, mut files: Files) -> anyhow::Result<DescriptorPool> {
        while let Some(missing) = missing(&files) {
            let request = MessageRequest::FileByFilename(missing.clone());
            self.collect(request, &mut files).await?;
            if !files.contains_key(&missing) {
                bail!("the server did not send {missing}");
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files.into_values())
            .context("the server's descriptors do not fit together")?;
        Ok(pool)
    }

    async fn services(&mut self) -> anyhow::Result<Vec<String>> {
        match self
            .ask(MessageRequest::ListServices(String::new()))
            .await?
        {
            MessageResponse::ListServicesResponse(list) => {
                Ok(list.service.into_iter().map(|one| one.name).collect())
            }
            other => bail!("the server answered a request for its services with {other:?}"),
        }
    }

    async fn collect(&mut self, request: MessageRequest, files: &mut Files) -> anyhow::Result<()> {
        match self.ask(request.clone()).await? {
            MessageResponse::FileDescriptorResponse(found) => {
                for bytes in found.file_descriptor_proto {
                    let file = FileDescriptorProto::decode(bytes.as_slice())?;
                    files.insert(file.name().to_owned(), file);
                }
                Ok(())
            }
            other => bail!("the server answered {request:?} with {other:?}"),
        }
    }

    async fn ask(&mut self, request: MessageRequest) -> anyhow::Result<MessageResponse> {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        let requests = stream::iter([request]);
        let mut answers = self.0.server_reflection_info(requests).await?.into_inner();
        let answer = answers.message().await?.context("no answer")?;
        answer.message_response.context("an empty answer")
    }
}
