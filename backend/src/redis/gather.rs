//! Questions of many callers, asked together.

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::Unavailable;

/// Callers that wait to be heard; others wait to be among them.
const CALLERS_WAITING: usize = 1024;

/// Asks in rounds: while one is under way, the questions that come gather for
/// the next. So a single question goes out at once, and the more there are, the
/// less each of them costs.
///
/// All callers of a round share its failure. That is right for one server, which
/// is there for all of them or for none.
pub(crate) struct Gather<Q, A> {
    callers: mpsc::Sender<Caller<Q, A>>,
}

struct Caller<Q, A> {
    questions: Vec<Q>,
    answers: oneshot::Sender<Answers<A>>,
}

type Answers<A> = Result<Vec<A>, Unavailable>;

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    /// Rounds of up to `questions_max`, unless one caller has more. `ask` answers
    /// all questions in their order.
    pub(crate) fn start<F>(questions_max: usize, ask: impl Fn(Vec<Q>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Answers<A>> + Send + 'static,
    {
        let (callers, waiting) = mpsc::channel(CALLERS_WAITING);
        // The task ends with the last caller.
        TaskTracker::new().spawn(rounds(questions_max, waiting, ask));
        Self { callers }
    }

    /// The answers to `questions`, in their order.
    pub(crate) async fn ask(&self, questions: Vec<Q>) -> Answers<A> {
        let (answers, answered) = oneshot::channel();
        let caller = Caller { questions, answers };
        // Only a round that panicked ends the task before its callers do.
        let ended = || Unavailable("lookups have failed".to_owned());
        self.callers.send(caller).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

async fn rounds<Q, A, F>(
    questions_max: usize,
    mut waiting: mpsc::Receiver<Caller<Q, A>>,
    ask: impl Fn(Vec<Q>) -> F,
) where
    F: Future<Output = Answers<A>>,
{
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut round = Round::default();
        round.add(first);
        while let Ok(caller) = waiting.try_recv() {
            if round.questions.len() + caller.questions.len() > questions_max {
                next = Some(caller);
                break;
            }
            round.add(caller);
        }
        if !round.callers.is_empty() {
            let answers = ask(round.questions).await;
            tell(round.callers, answers);
        }
    }
}

/// Questions with who asked how many of them.
struct Round<Q, A> {
    questions: Vec<Q>,
    callers: Vec<(usize, oneshot::Sender<Answers<A>>)>,
}

impl<Q, A> Default for Round<Q, A> {
    fn default() -> Self {
        Self {
            questions: Vec::new(),
            callers: Vec::new(),
        }
    }
}

impl<Q, A> Round<Q, A> {
    /// Adds a caller who still waits.
    fn add(&mut self, caller: Caller<Q, A>) {
        if caller.answers.is_closed() {
            return;
        }
        self.callers.push((caller.questions.len(), caller.answers));
        self.questions.extend(caller.questions);
    }
}

fn tell<A>(callers: Vec<(usize, oneshot::Sender<Answers<A>>)>, answers: Answers<A>) {
    match answers {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for (count, caller) in callers {
                // Who asked may have stopped waiting.
                let _ = caller.send(Ok(answers.by_ref().take(count).collect()));
            }
        }
        Err(error) => {
            for (_, caller) in callers {
                let _ = caller.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::Semaphore;

    use super::*;

    /// Squares numbers, but not 0, in rounds that each have to be allowed.
    #[derive(Clone)]
    struct Squares {
        rounds: Arc<Mutex<Vec<Vec<u32>>>>,
        allowed: Arc<Semaphore>,
    }

    impl Squares {
        fn start(questions_max: usize) -> (Gather<u32, u32>, Self) {
            let squares = Self {
                rounds: Arc::default(),
                allowed: Arc::new(Semaphore::new(0)),
            };
            let asked = squares.clone();
            let gather = Gather::start(questions_max, move |numbers| asked.clone().of(numbers));
            (gather, squares)
        }

        async fn of(self, numbers: Vec<u32>) -> Answers<u32> {
            self.rounds.lock().push(numbers.clone());
            self.allowed.acquire().await.expect("never closed").forget();
            if numbers.contains(&0) {
                return Err(Unavailable("zero".to_owned()));
            }
            Ok(numbers.iter().map(|number| number * number).collect())
        }
    }

    #[tokio::test]
    async fn what_comes_during_a_round_is_asked_together() {
        let (gather, squares) = Squares::start(4);
        let ask = |questions: &'static [u32]| gather.ask(questions.to_vec());
        let (mut first, mut second, mut third, mut fourth) = (
            Box::pin(ask(&[1])),
            Box::pin(ask(&[2, 3])),
            Box::pin(ask(&[])),
            Box::pin(ask(&[4, 5, 6])),
        );
        for asking in [&mut first, &mut second, &mut third, &mut fourth] {
            assert!(futures_util::poll!(asking).is_pending());
            tokio::task::yield_now().await;
        }

        squares.allowed.add_permits(3);

        assert_eq!(first.await.unwrap(), [1]);
        assert_eq!(second.await.unwrap(), [4, 9]);
        assert!(third.await.unwrap().is_empty());
        assert_eq!(fourth.await.unwrap(), [16, 25, 36]);
        let expected: [&[u32]; 3] = [&[1], &[2, 3], &[4, 5, 6]];
        assert_eq!(*squares.rounds.lock(), expected);
    }

    #[tokio::test]
    async fn a_failure_is_everybodys_of_its_round_and_nobodys_else() {
        let (gather, squares) = Squares::start(4);
        let mut gone = Box::pin(gather.ask(vec![7]));
        let mut first = Box::pin(gather.ask(vec![0]));
        let mut second = Box::pin(gather.ask(vec![2]));
        for asking in [&mut gone, &mut first, &mut second] {
            assert!(futures_util::poll!(asking).is_pending());
        }
        drop(gone);

        squares.allowed.add_permits(2);

        assert_eq!(first.await, Err(Unavailable("zero".to_owned())));
        assert_eq!(second.await, Err(Unavailable("zero".to_owned())));
        assert_eq!(gather.ask(vec![3]).await, Ok(vec![9]));
        let expected: [&[u32]; 2] = [&[0, 2], &[3]];
        assert_eq!(
            *squares.rounds.lock(),
            expected,
            "who has left is not asked for"
        );
    }
}
