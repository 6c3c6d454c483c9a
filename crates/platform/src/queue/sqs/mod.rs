//! SQS, and servers with its protocol.

mod address;

use std::time::Duration;

use address::Address;
use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_sdk_sqs::{
    Client,
    config::Builder as ConfigBuilder,
    error::{ProvideErrorMetadata, SdkError},
    types::{MessageSystemAttributeName, QueueAttributeName},
};
use tokio::time::Instant;

use super::{
    DEAD_LETTER_VISIBILITY, MAX_BATCH, MAX_DELAY, Message, Queue, QueueConfig, QueueDepth, QueueError,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// SQS's maximum wait time of a receive.
const MAX_POLL: Duration = Duration::from_secs(20);
/// SQS's maximum visibility timeout.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);
/// Interval at which a server that was unavailable at the start is tried again.
const ENSURE_INTERVAL: Duration = Duration::from_secs(2);
/// Interval of warnings while it is unavailable.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Prefix of receipts of the dead-letter queue.
const DEAD_LETTER_PREFIX: &str = "dead:";

#[derive(Clone)]
pub(super) struct SqsQueue {
    client: Client,
    queue: Address,
    dead: Address,
    max_receives: u32,
}

impl SqsQueue {
    pub(super) async fn open(config: &QueueConfig) -> Result<Self, QueueError> {
        let queue = Address::parse(&config.url)?;
        let dead = match &config.dead_letter_url {
            Some(url) => Address::parse(url)?,
            None if queue.endpoint.is_some() => queue.with_suffix("-dead"),
            None => return Err(QueueError::Config("an AWS queue needs a dead_letter_url".to_owned())),
        };
        let client = client(config, &queue).await?;
        let queue = Self { client, queue, dead, max_receives: config.max_receives };
        match queue.ensure().await {
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "the queue is unavailable: retrying");
                let ensuring = queue.clone();
                tokio::spawn(async move { ensuring.ensure_later().await });
            }
            result => result?,
        }
        Ok(queue)
    }

    /// Repeats [`SqsQueue::ensure`] until the server is available.
    async fn ensure_later(&self) {
        let mut last_warning = Instant::now();
        loop {
            tokio::time::sleep(ENSURE_INTERVAL).await;
            match self.ensure().await {
                Ok(()) => return,
                Err(error) if error.is_unavailable() => {
                    if last_warning.elapsed() >= WARNING_INTERVAL {
                        tracing::warn!(%error, "the queue is unavailable: retrying");
                        last_warning = Instant::now();
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be used");
                    return;
                }
            }
        }
    }

    /// Creates missing queues (not on AWS) and checks that the queue has a redrive policy.
    async fn ensure(&self) -> Result<(), QueueError> {
        if self.queue.endpoint.is_some() {
            self.create_if_missing(&self.dead, None).await?;
            let dead_arn = self.attribute(&self.dead, QueueAttributeName::QueueArn).await?;
            let policy = serde_json::json!({
                "deadLetterTargetArn": dead_arn,
                "maxReceiveCount": self.max_receives.to_string(),
            });
            self.create_if_missing(&self.queue, Some(policy.to_string())).await?;
        }
        match self.attribute(&self.queue, QueueAttributeName::RedrivePolicy).await? {
            Some(_) => Ok(()),
            None => Err(QueueError::Config(format!("queue {} has no redrive policy", self.queue.name))),
        }
    }

    async fn create_if_missing(&self, queue: &Address, redrive: Option<String>) -> Result<(), QueueError> {
        let found = self.client.get_queue_url().queue_name(&queue.name).send().await;
        match found.map_err(|error| failure("GetQueueUrl", error)) {
            Ok(_) => return Ok(()),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        let mut create = self.client.create_queue().queue_name(&queue.name);
        if let Some(policy) = redrive {
            create = create.attributes(QueueAttributeName::RedrivePolicy, policy);
        }
        create.send().await.map_err(|error| failure("CreateQueue", error))?;
        Ok(())
    }

    async fn attribute(
        &self,
        queue: &Address,
        name: QueueAttributeName,
    ) -> Result<Option<String>, QueueError> {
        let response = self
            .client
            .get_queue_attributes()
            .queue_url(&queue.url)
            .attribute_names(name.clone())
            .send()
            .await
            .map_err(|error| failure("GetQueueAttributes", error))?;
        Ok(response.attributes.and_then(|mut attributes| attributes.remove(&name)))
    }

    /// Messages in one queue.
    async fn counts(&self, queue: &Address) -> Result<QueueDepth, QueueError> {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let hidden = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let delayed = QueueAttributeName::ApproximateNumberOfMessagesDelayed;
        let request = self
            .client
            .get_queue_attributes()
            .queue_url(&queue.url)
            .set_attribute_names(Some(vec![visible.clone(), hidden.clone(), delayed.clone()]));
        let response = request.send().await.map_err(|error| failure("GetQueueAttributes", error))?;
        let attributes = response.attributes.unwrap_or_default();
        let count = |name: &QueueAttributeName| -> u64 {
            attributes.get(name).and_then(|count| count.parse().ok()).unwrap_or(0)
        };
        Ok(QueueDepth { visible: count(&visible), hidden: count(&hidden) + count(&delayed), dead_letters: 0 })
    }

    async fn send_once(&self, body: &str, delay: Duration) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(&self.queue.url)
            .message_body(body)
            .delay_seconds(seconds(delay, MAX_DELAY))
            .send()
            .await
            .map_err(|error| failure("SendMessage", error))?;
        Ok(())
    }

    async fn poll(
        &self,
        queue: &Address,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueError> {
        let wait = wait.min(MAX_POLL);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(wait + ATTEMPT_TIMEOUT);
        let response = self
            .client
            .receive_message()
            .queue_url(&queue.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, MAX_BATCH)).unwrap_or(1))
            .visibility_timeout(seconds(visibility, MAX_VISIBILITY))
            .wait_time_seconds(seconds(wait, MAX_POLL))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .customize()
            .config_override(ConfigBuilder::default().timeout_config(timeouts.build()))
            .send()
            .await
            .map_err(|error| failure("ReceiveMessage", error))?;
        Ok(response.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }

    /// Recreates a queue that its server has lost in a restart. Returns any other error, and on AWS this one too.
    async fn recover(&self, error: QueueError) -> Result<(), QueueError> {
        if self.queue.endpoint.is_none() || !is_missing(&error) {
            return Err(error);
        }
        tracing::warn!(queue = self.queue.name, "the queue does not exist; recreating it");
        self.ensure().await
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, body: &str, delay: Duration) -> Result<(), QueueError> {
        match self.send_once(body, delay).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.recover(error).await?;
                self.send_once(body, delay).await
            }
        }
    }

    async fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueError> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let messages = match self.poll(&self.queue, max, visibility, left).await {
                Ok(messages) => messages,
                Err(error) => {
                    self.recover(error).await?;
                    Vec::new()
                }
            };
            if !messages.is_empty() || Instant::now() >= deadline {
                return Ok(messages);
            }
        }
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError> {
        let (queue, handle) = match receipt.strip_prefix(DEAD_LETTER_PREFIX) {
            Some(handle) => (&self.dead, handle),
            None => (&self.queue, receipt),
        };
        let result = self
            .client
            .change_message_visibility()
            .queue_url(&queue.url)
            .receipt_handle(handle)
            .visibility_timeout(seconds(visibility, MAX_VISIBILITY))
            .send()
            .await;
        match result.map_err(|error| failure("ChangeMessageVisibility", error)) {
            Ok(_) => Ok(()),
            Err(error) if is_stale(&error) || is_missing(&error) => Err(QueueError::ReceiptStale),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        let (queue, handle) = match receipt.strip_prefix(DEAD_LETTER_PREFIX) {
            Some(handle) => (&self.dead, handle),
            None => (&self.queue, receipt),
        };
        let result = self.client.delete_message().queue_url(&queue.url).receipt_handle(handle).send().await;
        match result.map_err(|error| failure("DeleteMessage", error)) {
            Ok(_) => Ok(()),
            Err(error) if is_stale(&error) || is_missing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn dead_letters(&self, max: usize) -> Result<Vec<Message>, QueueError> {
        // Long polling queries all of SQS's servers; short polling may miss messages.
        let wait = Duration::from_secs(1);
        let mut letters = match self.poll(&self.dead, max, DEAD_LETTER_VISIBILITY, wait).await {
            Ok(letters) => letters,
            Err(error) => {
                self.recover(error).await?;
                Vec::new()
            }
        };
        letters.iter_mut().for_each(|letter| letter.receipt.insert_str(0, DEAD_LETTER_PREFIX));
        Ok(letters)
    }

    async fn depth(&self) -> Result<QueueDepth, QueueError> {
        let (queue, dead) = tokio::try_join!(self.counts(&self.queue), self.counts(&self.dead))?;
        Ok(QueueDepth {
            visible: queue.visible,
            hidden: queue.hidden,
            dead_letters: dead.visible + dead.hidden,
        })
    }
}

async fn client(config: &QueueConfig, queue: &Address) -> Result<Client, QueueError> {
    let region = config
        .region
        .clone()
        .or_else(|| queue.region.clone())
        .ok_or_else(|| QueueError::Config("SQS needs a region".to_owned()))?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region))
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts);
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        loader = loader.credentials_provider(Credentials::from_keys(id, secret, None));
    }
    if let Some(endpoint) = &queue.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    Ok(Client::new(&loader.load().await))
}

fn message(message: aws_sdk_sqs::types::Message) -> Option<Message> {
    let receive_count = message
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    Some(Message { body: message.body?, receipt: message.receipt_handle?, receive_count })
}

/// Whole seconds, rounded up and capped.
fn seconds(duration: Duration, max: Duration) -> i32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(whole.min(max.as_secs())).unwrap_or(i32::MAX)
}

fn failure<E>(operation: &'static str, error: SdkError<E>) -> QueueError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().unwrap_or_default().to_owned();
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None => crate::error_chain::one_line(&error),
    };
    QueueError::Sqs { operation, code, message }
}

fn code_of(error: &QueueError) -> &str {
    match error {
        QueueError::Sqs { code, .. } => code,
        _ => "",
    }
}

fn is_missing(error: &QueueError) -> bool {
    let code = code_of(error);
    code.ends_with("NonExistentQueue") || code.ends_with("QueueDoesNotExist")
}

fn is_stale(error: &QueueError) -> bool {
    // AWS reports an expired receipt handle as an invalid parameter value.
    const CODES: [&str; 3] = ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"];
    CODES.iter().any(|code| code_of(error).ends_with(code))
}
