//! A2A tasks: the agents' current and recent work for A2A callers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use uuid::Uuid;

/// Maximum number of tasks that are kept. Beyond it, the oldest is evicted and aborted.
const MAX_TASKS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    Working,
    Completed,
    Failed,
    Canceled,
}

/// A message from the user or the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskMessage {
    pub id: String,
    pub is_user: bool,
    pub text: String,
}

impl TaskMessage {
    pub fn user(id: Option<String>, text: String) -> Self {
        Self {
            id: id.unwrap_or_else(new_id),
            is_user: true,
            text,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    pub context_id: String,
    /// The name of the caller's key.
    pub owner: String,
    pub state: TaskState,
    pub message: TaskMessage,
    /// The agent's text so far.
    pub text: String,
    /// The error message of a failed task.
    pub error: Option<String>,
    /// RFC 3339.
    pub updated_at: String,
}

/// An update of a task.
#[derive(Debug, Clone)]
pub enum TaskUpdate {
    /// More of the agent's text; `true` for the first piece.
    Text(String, bool),
    /// The end of the task, with an error message if it failed.
    Ended(TaskState, Option<String>),
}

struct Entry {
    task: Task,
    listener: Option<mpsc::UnboundedSender<TaskUpdate>>,
    work: Option<AbortHandle>,
}

/// Tasks, oldest first.
#[derive(Default)]
pub struct Tasks(Mutex<VecDeque<Entry>>);

impl Tasks {
    /// Creates a task. Returns it with the receiver of its updates and the conversation of its
    /// context, as messages for the model. The error is the id of a task that does not exist.
    pub fn begin(
        &self,
        owner: &str,
        message: TaskMessage,
        context_id: Option<String>,
        task_id: Option<String>,
    ) -> Result<(Task, mpsc::UnboundedReceiver<TaskUpdate>, Vec<Value>), String> {
        let mut entries = self.lock();
        let of_owner = |entry: &&Entry| entry.task.owner == owner;
        let context_id = match task_id {
            // A finished task can't be resumed; the message starts a new task in the same context.
            Some(id) => {
                let known = entries
                    .iter()
                    .filter(of_owner)
                    .find(|entry| entry.task.id == id);
                known.map(|entry| entry.task.context_id.clone()).ok_or(id)?
            }
            None => context_id.unwrap_or_else(new_id),
        };
        let mut messages = Vec::new();
        let earlier = entries.iter().filter(of_owner);
        for entry in earlier.filter(|entry| entry.task.context_id == context_id) {
            messages.push(json!({"role": "user", "content": entry.task.message.text}));
            if !entry.task.text.is_empty() {
                messages.push(json!({"role": "assistant", "content": entry.task.text}));
            }
        }
        messages.push(json!({"role": "user", "content": message.text}));
        let task = Task {
            id: new_id(),
            context_id,
            owner: owner.to_owned(),
            state: TaskState::Working,
            message,
            text: String::new(),
            error: None,
            updated_at: now(),
        };
        let (listener, told) = mpsc::unbounded_channel();
        entries.push_back(Entry {
            task: task.clone(),
            listener: Some(listener),
            work: None,
        });
        if entries.len() > MAX_TASKS
            && let Some(oldest) = entries.pop_front()
            && let Some(work) = oldest.work
        {
            work.abort();
        }
        Ok((task, told, messages))
    }

    /// Sets the handle that aborts the task's work.
    pub fn works_by(&self, id: &str, work: AbortHandle) {
        self.change(id, |entry| entry.work = Some(work));
    }

    pub fn get(&self, id: &str, owner: &str) -> Option<Task> {
        let entries = self.lock();
        let mut tasks = entries.iter().map(|entry| &entry.task);
        let task = tasks.find(|task| task.id == id && task.owner == owner);
        task.cloned()
    }

    pub fn say(&self, id: &str, text: &str) {
        self.change(id, |entry| {
            if entry.task.state != TaskState::Working {
                return;
            }
            let is_first = entry.task.text.is_empty();
            entry.task.text.push_str(text);
            entry.tell(TaskUpdate::Text(text.to_owned(), is_first));
        });
    }

    pub fn end(&self, id: &str, state: TaskState, error: Option<String>) {
        self.change(id, |entry| entry.end(state, error));
    }

    /// Cancels a task. Returns `None` if it has already ended.
    pub fn cancel(&self, id: &str) -> Option<Task> {
        let mut canceled = None;
        self.change(id, |entry| {
            if entry.task.state == TaskState::Working {
                if let Some(work) = entry.work.take() {
                    work.abort();
                }
                entry.end(TaskState::Canceled, None);
                canceled = Some(entry.task.clone());
            }
        });
        canceled
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().iter_mut().find(|entry| entry.task.id == id) {
            change(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn tell(&self, told: TaskUpdate) {
        if let Some(listener) = &self.listener {
            // The client may have disconnected.
            let _ = listener.send(told);
        }
    }

    fn end(&mut self, state: TaskState, error: Option<String>) {
        if self.task.state != TaskState::Working {
            return;
        }
        self.task.state = state;
        self.task.error.clone_from(&error);
        self.task.updated_at = now();
        self.tell(TaskUpdate::Ended(state, error));
        self.listener = None;
        self.work = None;
    }
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(tasks: &Tasks, owner: &str, text: &str, context: Option<&str>) -> (Task, Vec<Value>) {
        let message = TaskMessage::user(None, text.to_owned());
        let context = context.map(str::to_owned);
        let (task, _, messages) = tasks.begin(owner, message, context, None).unwrap();
        (task, messages)
    }

    #[test]
    fn a_context_remembers_what_was_said_by_its_owner() {
        let tasks = Tasks::default();
        let (first, _) = begin(&tasks, "a", "one", None);
        tasks.say(&first.id, "1");
        tasks.end(&first.id, TaskState::Completed, None);
        let (_, messages) = begin(&tasks, "a", "two", Some(&first.context_id));
        assert_eq!(messages.len(), 3);
        let (_, messages) = begin(&tasks, "b", "two", Some(&first.context_id));
        assert_eq!(messages.len(), 1, "another owner's context is not visible");
        assert!(tasks.get(&first.id, "b").is_none());
    }

    #[test]
    fn a_task_ends_once() {
        let tasks = Tasks::default();
        let (task, _) = begin(&tasks, "a", "one", None);
        assert_eq!(tasks.cancel(&task.id).unwrap().state, TaskState::Canceled);
        tasks.end(&task.id, TaskState::Completed, None);
        tasks.say(&task.id, "late");
        let task = tasks.get(&task.id, "a").unwrap();
        assert_eq!((task.state, task.text.as_str()), (TaskState::Canceled, ""));
        assert!(tasks.cancel(&task.id).is_none());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let tasks = Tasks::default();
        let (first, _) = begin(&tasks, "a", "one", None);
        for _ in 0..MAX_TASKS {
            begin(&tasks, "a", "more", None);
        }
        assert!(tasks.get(&first.id, "a").is_none());
        assert_eq!(tasks.lock().len(), MAX_TASKS);
    }
}
