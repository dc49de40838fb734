//! The vocabulary of the two A2A protocol versions.

use serde_json::{Value, json};

use opentracy_agents::task::{Task, TaskMessage, TaskState, TaskUpdate, new_id, now};

/// A protocol version, identified by its method names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum A2aDialect {
    /// 0.3: `message/send`.
    Slashes,
    /// 1.0: `SendMessage`.
    Camels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskMethod {
    Send,
    Stream,
    Get,
    Cancel,
}

const METHODS: [(&str, A2aDialect, TaskMethod); 8] = [
    ("message/send", A2aDialect::Slashes, TaskMethod::Send),
    ("message/stream", A2aDialect::Slashes, TaskMethod::Stream),
    ("tasks/get", A2aDialect::Slashes, TaskMethod::Get),
    ("tasks/cancel", A2aDialect::Slashes, TaskMethod::Cancel),
    ("SendMessage", A2aDialect::Camels, TaskMethod::Send),
    (
        "SendStreamingMessage",
        A2aDialect::Camels,
        TaskMethod::Stream,
    ),
    ("GetTask", A2aDialect::Camels, TaskMethod::Get),
    ("CancelTask", A2aDialect::Camels, TaskMethod::Cancel),
];

/// Joins the text of a message's parts.
pub fn text_of(message: &Value) -> Result<String, String> {
    let parts = message.get("parts").and_then(Value::as_array);
    let parts = parts.filter(|parts| !parts.is_empty());
    let parts = parts.ok_or("`message.parts` must be a list with at least one part")?;
    let texts = parts
        .iter()
        .map(|part| match part.get("text").and_then(Value::as_str) {
            Some(text) => Ok(text),
            None => Err("the agent accepts only text; send parts with `text`".to_owned()),
        });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

impl A2aDialect {
    pub fn of_method(method: &str) -> Option<(Self, TaskMethod)> {
        let known = METHODS.into_iter().find(|(name, ..)| *name == method);
        known.map(|(_, words, action)| (words, action))
    }

    /// Returns `true` if the caller wants a response at once and polls the task later.
    pub fn wants_no_wait(self, params: &Value) -> bool {
        let configuration = params.get("configuration");
        let says = |name: &str| configuration?.get(name)?.as_bool();
        match self {
            Self::Slashes => says("blocking") == Some(false),
            Self::Camels => says("returnImmediately") == Some(true),
        }
    }

    pub fn state(self, state: TaskState) -> &'static str {
        match (self, state) {
            (Self::Slashes, TaskState::Working) => "working",
            (Self::Slashes, TaskState::Completed) => "completed",
            (Self::Slashes, TaskState::Failed) => "failed",
            (Self::Slashes, TaskState::Canceled) => "canceled",
            (Self::Camels, TaskState::Working) => "TASK_STATE_WORKING",
            (Self::Camels, TaskState::Completed) => "TASK_STATE_COMPLETED",
            (Self::Camels, TaskState::Failed) => "TASK_STATE_FAILED",
            (Self::Camels, TaskState::Canceled) => "TASK_STATE_CANCELED",
        }
    }

    fn part(self, text: &str) -> Value {
        match self {
            Self::Slashes => json!({"kind": "text", "text": text}),
            Self::Camels => json!({"text": text}),
        }
    }

    fn message(self, message: &TaskMessage, task: &str, context: &str) -> Value {
        let role = match (self, message.is_user) {
            (Self::Slashes, true) => "user",
            (Self::Slashes, false) => "agent",
            (Self::Camels, true) => "ROLE_USER",
            (Self::Camels, false) => "ROLE_AGENT",
        };
        let parts = [self.part(&message.text)];
        let whole = json!({
            "messageId": message.id, "role": role, "parts": parts, "taskId": task, "contextId": context,
        });
        self.kind("message", whole)
    }

    /// Adds `kind`, which objects have in version 0.3.
    fn kind(self, kind: &str, mut object: Value) -> Value {
        if self == Self::Slashes {
            object["kind"] = kind.into();
        }
        object
    }

    fn status(
        self,
        state: TaskState,
        error: Option<&str>,
        at: &str,
        task: &str,
        context: &str,
    ) -> Value {
        let mut status = json!({"state": self.state(state), "timestamp": at});
        if let Some(error) = error {
            let message = TaskMessage {
                id: new_id(),
                is_user: false,
                text: error.to_owned(),
            };
            status["message"] = self.message(&message, task, context);
        }
        status
    }

    fn artifact(self, task: &str, text: &str) -> Value {
        json!({"artifactId": format!("{task}-answer"), "name": "answer", "parts": [self.part(text)]})
    }

    pub fn task(self, task: &Task) -> Value {
        let (id, context) = (task.id.as_str(), task.context_id.as_str());
        let error = task.error.as_deref();
        let mut whole = json!({
            "id": id,
            "contextId": context,
            "status": self.status(task.state, error, &task.updated_at, id, context),
            "history": [self.message(&task.message, id, context)],
        });
        if !task.text.is_empty() {
            whole["artifacts"] = json!([self.artifact(id, &task.text)]);
        }
        self.kind("task", whole)
    }

    /// Builds the result of sending a message.
    pub fn sent(self, task: &Task) -> Value {
        let task = self.task(task);
        match self {
            Self::Slashes => task,
            Self::Camels => json!({"task": task}),
        }
    }

    /// Builds a stream event from an update.
    pub fn told(self, task: &str, context: &str, told: &TaskUpdate) -> Value {
        match told {
            TaskUpdate::Text(text, is_first) => {
                let update = json!({
                    "taskId": task, "contextId": context, "artifact": self.artifact(task, text),
                    "append": !is_first, "lastChunk": false,
                });
                match self {
                    Self::Slashes => self.kind("artifact-update", update),
                    Self::Camels => json!({"artifactUpdate": update}),
                }
            }
            TaskUpdate::Ended(state, error) => {
                let status = self.status(*state, error.as_deref(), &now(), task, context);
                let mut update = json!({"taskId": task, "contextId": context, "status": status});
                match self {
                    Self::Slashes => {
                        update["final"] = true.into();
                        self.kind("status-update", update)
                    }
                    Self::Camels => json!({"statusUpdate": update}),
                }
            }
        }
    }
}
