//! Reads the lines of a workload from a control plane. A read that follows continues across broken
//! connections.

use std::{collections::BTreeMap, pin::Pin};

use futures::{Stream, stream};
use prost_types::Timestamp;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};
use warren_proto::v1;

use crate::{
    client::Server,
    error,
    resume::{self, Resuming},
};

/// The result of a read.
#[derive(Debug, PartialEq)]
pub enum Read {
    /// New lines. Those of each replica are in the order in which they were written.
    Lines(Vec<v1::LogLine>),
    /// The connection broke, for this reason. The read retries until it is restored.
    Broken(String),
}

pub type Reading = Pin<Box<dyn Stream<Item = Result<Read, Status>> + Send>>;

/// The call that reads.
struct Call {
    server: Server,
    request: v1::LogsRequest,
    resume: Resume,
}

/// What has been read already. Pure.
#[derive(Default)]
struct Resume {
    /// The time when reading began.
    began: Option<Instant>,
    /// The time of the last line of each replica.
    read: BTreeMap<String, Timestamp>,
    /// The same at the last broken connection: lines up to these times are sent again.
    before_break: BTreeMap<String, Timestamp>,
}

/// Reads until the last line or, if the request follows, for as long as the stream is polled. A
/// failure before the server has answered once is final. Dropping the future of the next item loses
/// nothing.
pub fn read(server: Server, request: v1::LogsRequest) -> Reading {
    let call = Call {
        server,
        request,
        resume: Resume::default(),
    };
    Box::pin(stream::unfold(Some(Resuming::new(call)), |reader| async {
        let mut reader = reader?;
        match next(&mut reader).await {
            Ok(Some(read)) => Some((Ok(read), Some(reader))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }))
}

async fn next(reader: &mut Resuming<Call>) -> Result<Option<Read>, Status> {
    loop {
        let status = match reader.next().await {
            Ok(Some(response)) => {
                let lines = reader.source.resume.new_lines(response.lines);
                if lines.is_empty() {
                    continue;
                }
                return Ok(Some(Read::Lines(lines)));
            }
            Ok(None) => return Ok(None),
            Err(status) => status,
        };
        let call = &mut reader.source;
        let again = call.request.follow && call.resume.began.is_some();
        // The workload has been deleted, so there are no further lines.
        if again && status.code() == Code::NotFound {
            return Ok(None);
        }
        if !again || !resume::is_passing(&status) {
            return Err(status);
        }
        call.resume.broke();
        // A single failure is not reported.
        if reader.failures() == 2 {
            return Ok(Some(Read::Broken(error::render_status(&status))));
        }
    }
}

// === impl Call ===

impl resume::Source for Call {
    type Message = v1::LogsResponse;

    async fn open(&mut self) -> Result<Streaming<Self::Message>, Status> {
        let now = Instant::now();
        let request = self.resume.request(&self.request, now);
        let response = self.server.workloads().logs(request).await?;
        self.resume.began.get_or_insert(now);
        Ok(response.into_inner())
    }
}

// === impl Resume ===

impl Resume {
    /// Returns the request to send now. After a broken connection it asks for all lines, or, if the
    /// first request was limited, for those since it began. Lines that were already read are
    /// recognised by their time.
    fn request(&self, first: &v1::LogsRequest, now: Instant) -> v1::LogsRequest {
        let mut request = first.clone();
        if let Some(began) = self.began
            && (first.tail.is_some() || first.since.is_some())
        {
            request.tail = None;
            request.since = resume::since(began, now);
        }
        request
    }

    fn broke(&mut self) {
        self.before_break.clone_from(&self.read);
    }

    /// Returns the lines that were not read before a break.
    fn new_lines(&mut self, mut lines: Vec<v1::LogLine>) -> Vec<v1::LogLine> {
        let moment = |time: &Timestamp| (time.seconds, time.nanos);
        lines.retain(|line| {
            let before = self.before_break.get(&line.replica);
            match (&line.time, before) {
                (Some(time), Some(before)) => moment(time) > moment(before),
                _ => true,
            }
        });
        for line in &lines {
            if let Some(time) = line.time {
                self.read.insert(line.replica.clone(), time);
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(replica: &str, seconds: i64) -> v1::LogLine {
        v1::LogLine {
            replica: replica.to_owned(),
            time: Some(Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn after_a_break_lines_continue_where_they_stopped() {
        let first = v1::LogsRequest {
            follow: true,
            tail: Some(5),
            ..Default::default()
        };
        let mut resume = Resume::default();
        let began = Instant::now();
        assert_eq!(resume.request(&first, began), first);
        resume.began = Some(began);
        // Clocks may be set back: without a break nothing is dropped.
        let lines = vec![line("a", 5), line("a", 4), line("a", 6), line("b", 9)];
        assert_eq!(resume.new_lines(lines.clone()), lines);

        resume.broke();
        let again = resume.request(&first, began + Duration::from_secs(30));
        assert_eq!((again.tail, again.follow), (None, true));
        assert!(again.since.is_some_and(|since| since.seconds >= 30));
        let sent = vec![line("a", 5), line("a", 6), line("a", 7), line("c", 1)];
        assert_eq!(resume.new_lines(sent), [line("a", 7), line("c", 1)]);

        let all = v1::LogsRequest::default();
        assert_eq!(resume.request(&all, began + Duration::from_secs(30)), all);
    }
}
