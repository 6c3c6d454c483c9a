//! Parsing of queue URLs.

use url::Url;

use super::super::QueueError;

/// Location of an SQS queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Scheme, host and port, if the server is not AWS.
    pub(super) endpoint: Option<String>,
    /// The queue URL of the SQS API.
    pub(super) url: String,
    /// The last segment of the URL.
    pub(super) name: String,
    /// AWS: the region, from the host name.
    pub(super) region: Option<String>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, QueueError> {
        let invalid = |why: &str| QueueError::Config(format!("`{text}` is not a queue URL: {why}"));
        let (custom, url) = match text.strip_prefix("sqs+") {
            Some(url) => (true, url),
            None => (false, text),
        };
        let parsed = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
        let host = parsed.host_str().ok_or_else(|| invalid("it has no host"))?;
        let name = match parsed.path().trim_matches('/').split_once('/') {
            Some((_account, name)) if !name.is_empty() && !name.contains('/') => name.to_owned(),
            _ => return Err(invalid("its path is not /ACCOUNT/NAME")),
        };
        let region = host.strip_prefix("sqs.").and_then(|rest| rest.split_once(".amazonaws.com"));
        let region = region.map(|(region, _)| region.to_owned());
        if !custom && region.is_none() {
            return Err(invalid(
                "AWS hosts are sqs.REGION.amazonaws.com; for other servers write sqs+https:",
            ));
        }
        let endpoint = custom.then(|| parsed.origin().ascii_serialization());
        Ok(Self { endpoint, url: url.to_owned(), name, region })
    }

    /// The queue with this name and `suffix`, in the same account.
    pub(super) fn with_suffix(&self, suffix: &str) -> Self {
        let url = format!("{}{suffix}", self.url);
        Self { url, name: format!("{}{suffix}", self.name), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_of_an_aws_url_gives_region_and_name() {
        let address = Address::parse("https://sqs.eu-west-1.amazonaws.com/123456789012/work").expect("valid");
        assert_eq!(address.endpoint, None);
        assert_eq!(address.region.as_deref(), Some("eu-west-1"));
        assert_eq!(address.name, "work");
    }

    #[test]
    fn parse_of_another_server_gives_its_endpoint() {
        let address = Address::parse("sqs+http://127.0.0.1:9324/000000000000/work").expect("valid");
        assert_eq!(address.endpoint.as_deref(), Some("http://127.0.0.1:9324"));
        assert_eq!(address.url, "http://127.0.0.1:9324/000000000000/work");
        assert_eq!(address.with_suffix("-dead").url, "http://127.0.0.1:9324/000000000000/work-dead");
        assert_eq!(address.with_suffix("-dead").name, "work-dead");
    }

    #[test]
    fn parse_of_other_urls_is_an_error() {
        for text in
            ["sqs+http://host/name", "sqs+http://host/a/b/c", "https://example.com/1/name", "sqs+nothing"]
        {
            assert!(matches!(Address::parse(text), Err(QueueError::Config(_))), "{text}");
        }
    }
}
