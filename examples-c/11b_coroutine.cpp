// 11b_coroutine.cpp - characters as coroutines (C++20): each waits for its next token by co_await.
//
// Nothing blocks and no thread is started. A coroutine that waits is a pointer in a list; once per frame one call of
// realm_poll_many, with a budget of 2 ms, works for all who wait, and those who got something go on.
#include <coroutine>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "realm_posix.hpp"

namespace {

// Whoever waits, and for which session.
class scene {
public:
    // co_await scene.next(session): the session's next event, AGAIN excepted, or why there is none.
    struct awaiter {
        scene &in;
        realm_session *session;
        realm::result<realm::event> got = realm::event();
        std::coroutine_handle<> who = {};

        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> handle) {
            who = handle;
            in.waiting_.push_back(this);
        }
        realm::result<realm::event> await_resume() const noexcept { return got; }
    };
    awaiter next(const realm::session &session) { return {*this, session.c()}; }

    // A frame's share of thinking. False when nobody waits any more.
    bool frame(std::uint64_t budget_us) {
        std::vector<awaiter *> asked = std::move(waiting_);
        waiting_.clear();
        std::vector<realm_session *> sessions;
        for (const awaiter *a : asked) sessions.push_back(a->session);
        std::vector<realm::event> events(asked.size());
        std::vector<realm_error> errors(asked.size());
        const realm::result<void> polled =
            realm::poll_many(sessions, budget_us, events, errors);
        if (!polled) {
            for (awaiter *a : asked) a->got = polled.error();
        } else {
            for (std::size_t i = 0; i < asked.size(); i++) {
                if (errors[i].status != REALM_STATUS_OK) {
                    asked[i]->got = realm::error(errors[i]);
                } else if (events[i].is_again()) {
                    waiting_.push_back(std::exchange(asked[i], nullptr)); // its coroutine sleeps on
                } else {
                    asked[i]->got = events[i];
                }
            }
        }
        for (awaiter *a : asked) {
            if (a != nullptr) a->who.resume(); // which may make it wait again, or end it
        }
        return !waiting_.empty();
    }

private:
    std::vector<awaiter *> waiting_;
};

// A coroutine that starts at once and owns itself: it is gone when it has run to its end.
struct task {
    struct promise_type {
        task get_return_object() const noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }
    };
};

// What a character does, written as if it could wait.
task talk(scene &in, realm::session session, std::string_view question, std::string &said) {
    if (const realm::result<void> begun = session.chat(question); !begun) {
        said = begun.message();
        co_return;
    }
    for (;;) {
        const realm::result<realm::event> event = co_await in.next(session);
        if (!event) {
            said = event.message();
            co_return;
        }
        if (event->is_done()) co_return;
        said += event->str(); // valid until the session's next call
    }
}

} // namespace

int main(int argc, char **argv) {
    static constexpr std::string_view questions[] = {
        "What is the capital of Spain?", "Who are you?", "What is the capital of Kenya?"};
    static constexpr std::string_view answers[] = {
        "The capital of Spain is Madrid.", "I am a small demo model. I know the world's capitals.",
        "The capital of Kenya is Nairobi."};
    realm::result file = realm::posix::file::map(argc > 1 ? argv[1] : "examples-c/demo/realm-demo.gguf");
    realm::result model = realm::posix::add_model(std::move(*file));
    realm::result runtime = realm::runtime::create(realm::posix::platform());
    if (!file || !model || !runtime) {
        std::fprintf(stderr, "11b_coroutine: %s%s\n", file ? model.message() : file.message(), runtime.message());
        return 1;
    }

    scene scene;
    std::string said[std::size(questions)];
    for (std::size_t i = 0; i < std::size(questions); i++) {
        realm::result session = runtime->open(*model);
        if (!session) return 1;
        talk(scene, std::move(*session), questions[i], said[i]);
    }
    unsigned frames = 0;
    do {
        frames++; // here a game would draw
    } while (scene.frame(2000));

    bool right = true;
    for (std::size_t i = 0; i < std::size(questions); i++) {
        std::printf("%s\n", said[i].c_str());
        right = right && said[i] == answers[i];
    }
    std::printf("%u frames\n", frames);
    return right ? 0 : 1;
}
