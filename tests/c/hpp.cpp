// hpp.cpp - realm.hpp, realm_posix.hpp and realm_wasm.hpp: who owns what, what a failure looks like, callbacks, ranges,
// modules of one's own.
#include "realm_posix.hpp"
#include "realm_wasm.hpp"

#include "check.h"
#include "wasm_module.h"

#include <string>
#include <thread>
#include <vector>

namespace {

constexpr char france[] = "What is the capital of France?";
constexpr char paris[] = "The capital of France is Paris.";

template <class T>
constexpr bool owns = !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> &&
                      std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                      std::is_nothrow_default_constructible_v<T>;
static_assert(owns<realm::store> && owns<realm::model> && owns<realm::guest> && owns<realm::runtime> &&
              owns<realm::session> && owns<realm::posix::pool> && owns<realm::posix::file> &&
              owns<realm::wasm::module> && owns<realm::wasm::instance>);
static_assert(sizeof(realm::wasm::instance) == sizeof(void *));
static_assert(sizeof(realm::session) == sizeof(void *) && sizeof(realm::runtime) == sizeof(void *));
static_assert(!std::is_copy_constructible_v<realm::turn>);

// Takes the value of what must succeed.
template <class T> T take(realm::result<T> result, int line) {
    if (!result) {
        std::fprintf(stderr, "hpp.cpp:%d: %s: %s\n", line, result.error().name(), result.message());
        std::exit(1);
    }
    CHECK(result.ok() && result.status() == REALM_STATUS_OK && result.message()[0] == '\0');
    return *std::move(result);
}
#define TAKE(result) take((result), __LINE__)

realm::model demo() { return TAKE(realm::posix::add_model(TAKE(realm::posix::file::map(DEMO_MODEL)))); }

std::string all(realm::turn &turn) {
    std::string text;
    for (const realm::event &token : turn) {
        CHECK(token.is_token() && !token.is_again() && !token.is_done());
        text += token.str();
    }
    return text;
}

// A failure has a status and a line, and leaves an empty object that can be used without harm.
void test_failures() {
    realm::result<realm::model> none = realm::model::copy("no GGUF at all", 14);
    CHECK(!none && !none.ok() && none.status() == REALM_STATUS_FORMAT && none.message()[0] != '\0');
    CHECK(std::string_view(none.error().name()) == "REALM_STATUS_FORMAT");
    CHECK(!*none && none->id() == 0 && none->info().status() == REALM_STATUS_NOT_FOUND);
    CHECK(realm::guest::load("no module", 9).status() == REALM_STATUS_FORMAT);
    CHECK(realm::posix::file::map("/no/such/file").status() == REALM_STATUS_NOT_FOUND);
    CHECK(realm::posix::pool::create(0).status() == REALM_STATUS_INVALID_ARGUMENT);

    realm::session empty;
    CHECK(!empty && empty.c() == nullptr);
    CHECK(empty.chat("x").status() == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(empty.poll().status() == REALM_STATUS_INVALID_ARGUMENT);
    // No line of text comes with this one: the status's name does.
    CHECK(std::string_view(empty.stats().message()) == "REALM_STATUS_INVALID_ARGUMENT");
    realm::turn turn = empty.ask("x");
    CHECK(all(turn).empty() && !turn.ok() && turn.reason() == 0 && turn.status() == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm::runtime().open(1).status() == REALM_STATUS_INVALID_ARGUMENT);
    empty.cancel();
}

// Parts come back exactly once: to callables by value and by address, after success and failure.
void test_ownership() {
    const realm::posix::file file = TAKE(realm::posix::file::map(DEMO_MODEL));
    realm::store store = TAKE(realm::store::create());
    std::size_t back = 0;
    auto count = [&back](const void *data, std::size_t bytes) { back += data != nullptr && bytes > 0; };
    const auto borrow = [&] { return TAKE(realm::model::borrow(file.data(), file.size(), count, store.c())); };

    realm::model first = borrow();
    const std::uint32_t id = first.id();
    CHECK(first && id != 0 && back == 0 && first.store() == store.c());
    realm::model second = std::move(first);
    CHECK(!first && first.id() == 0 && second.id() == id && back == 0);
    second = borrow(); // the same bytes: the new parts are not needed, the old registration ends
    CHECK(back == 1 && second.id() == id && TAKE(second.info()).registration_count == 1);
    realm::model &same = second;
    second = std::move(same);
    CHECK(second.id() == id);
    second.reset();
    CHECK(!second && back == 2);
    second.reset();
    CHECK(back == 2);

    // By value, also refused.
    CHECK(!realm::model::borrow("nothing", 7, [&back](const void *, std::size_t) { ++back; }, store.c()));
    CHECK(back == 3);
    // Without any capture.
    static int released = 0;
    CHECK(!realm::model::borrow("nothing", 7, [](const void *, std::size_t bytes) { released += bytes == 7; }));
    CHECK(released == 1);

    // What is given up stays.
    CHECK(realm::model::copy(file.data(), file.size(), store.c())->release() == id);
    realm::model taken(id, store.c());
    CHECK(TAKE(taken.info()).registration_count == 1);
    taken.reset();
    CHECK(taken.info().status() == REALM_STATUS_NOT_FOUND);
    CHECK(realm::model(id, store.c()).info().status() == REALM_STATUS_NOT_FOUND);

    // Handles: moved, given up, taken over.
    realm_store *c = store.c();
    realm::store other = std::move(store);
    CHECK(!store && other.c() == c && other.release() == c && !other);
    realm::store again(c);
    again = TAKE(realm::store::create());
    CHECK(again);
    again.reset();
    CHECK(!again);

    realm::posix::file copy = TAKE(realm::posix::file::map(DEMO_MODEL));
    const auto next = copy.move_to_huge(0, copy.size());
    CHECK(next ? *next == copy.size() : next.status() == REALM_STATUS_UNSUPPORTED);
    CHECK(!copy.move_to_huge(copy.size() + 1, 1));
    CHECK(copy && copy.size() == file.size() && std::memcmp(copy.data(), file.data(), file.size()) == 0);
    realm_posix_map map = copy.release();
    CHECK(!copy && copy.size() == 0 && map.bytes == file.size());
    realm_posix_unmap(&map);
}

// How often the demo model's file is mapped; -1 where the system does not say.
int mappings() {
#ifdef _WIN32
    return -1;
#endif
    std::FILE *maps = std::fopen("/proc/self/maps", "r");
    if (maps == nullptr) {
        return -1;
    }
    char line[4096];
    int found = 0;
    while (std::fgets(line, sizeof line, maps) != nullptr) {
        found += std::string_view(line).find("realm-demo.gguf") != std::string_view::npos;
    }
    std::fclose(maps);
    return found;
}

void test_files() {
    const int none = mappings();
    realm::posix::file file = TAKE(realm::posix::file::map(DEMO_MODEL));
    const int one = mappings();
    CHECK(none < 0 || one > none);
    file = TAKE(realm::posix::file::map(DEMO_MODEL));
    CHECK(mappings() == one);
    std::vector<unsigned char> bytes(static_cast<const unsigned char *>(file.data()),
                                     static_cast<const unsigned char *>(file.data()) + file.size());
    realm::store store = TAKE(realm::store::create());
    realm::model model = TAKE(realm::posix::add_model(std::move(file), 7, store.c()));
    CHECK(!file && model.id() == 7 && mappings() == one);
    model = realm::model();
    CHECK(mappings() == none);
    {
        const realm::posix::file scoped = TAKE(realm::posix::file::map(DEMO_MODEL));
        CHECK(mappings() == one);
    }
    CHECK(mappings() == none);

    // A copy needs its source no more.
    model = TAKE(realm::model::copy(bytes.data(), bytes.size(), store.c()));
    bytes.assign(bytes.size(), 0);
    std::string name;
    CHECK(model.meta_string("general.architecture", name) && name == "llama");
    std::vector<float> row;
    CHECK(model.tensor_rows(TAKE(model.tensor("output_norm.weight")), 0, 1, row) && row[0] != 0.0f);
}

// Each owner ends what it stands for, and nothing sooner: seen by when the model's bytes come back.
void test_ends() {
    const realm::posix::file file = TAKE(realm::posix::file::map(DEMO_MODEL));
    int back = 0;
    auto count = [&back](const void *, std::size_t) { back++; };
    const auto leave = [&](realm_store *in) { TAKE(realm::model::borrow(file.data(), file.size(), count, in)).release(); };

    realm::store store = TAKE(realm::store::create());
    leave(store.c());
    CHECK(back == 0);
    store.reset();
    CHECK(back == 1);

    store = TAKE(realm::store::create());
    leave(store.c());
    store = realm::store(); // assigning ends what was there
    CHECK(back == 2);

    store = TAKE(realm::store::create());
    realm::model model = TAKE(realm::model::borrow(file.data(), file.size(), count, store.c()));
    realm::runtime runtime = TAKE(realm::runtime::create(realm::posix::platform(), store.c()));
    realm::session session = TAKE(runtime.open(model));
    (void)model.release();
    store.reset();
    CHECK(back == 2); // the runtime has the store
    runtime.reset();
    CHECK(back == 2); // the session has the model
    {
        const realm::session last = std::move(session);
        CHECK(back == 2);
    }
    CHECK(back == 3);
}

void test_model_facts(const realm::model &model) {
    const realm_model_info info = TAKE(model.info());
    CHECK(info.id == model.id() && std::string_view(info.architecture) == "llama" && info.parameter_count == 2016960);
    CHECK(TAKE(model.meta_int("llama.block_count")) == 4 && TAKE(model.meta_float("llama.rope.freq_base")) == 10000.0);
    CHECK(model.meta_int("none").status() == REALM_STATUS_NOT_FOUND);
    std::string text = "something longer than what is put into it, so that it must be cut";
    CHECK(model.meta_string("general.architecture", text) && text == "llama");
    CHECK(model.meta_string("general.name", text) && text == info.name);
    CHECK(model.meta_string("none", text).status() == REALM_STATUS_NOT_FOUND && text == info.name);

    // All entries, by their keys: what has elements is an array.
    std::size_t arrays = 0;
    for (std::size_t i = 0; i < info.kv_count; i++) {
        const std::uint32_t type = TAKE(model.meta_key(i, text));
        const realm::result<std::uint64_t> count = model.meta_count(text);
        CHECK(!text.empty() && count.ok() == (type == 9));
        arrays += type == 9;
    }
    CHECK(arrays >= 3 && model.meta_key(info.kv_count, text).status() == REALM_STATUS_NOT_FOUND);
    CHECK(TAKE(model.meta_count("tokenizer.ggml.tokens")) == TAKE(model.meta_count("tokenizer.ggml.token_type")));
    CHECK(model.meta_count("general.name").status() == REALM_STATUS_INVALID_ARGUMENT);

    std::vector<std::uint32_t> tokens;
    CHECK(realm::store().list(tokens) && tokens == std::vector<std::uint32_t>{model.id()});
    CHECK(model.tokenize(france, tokens) && tokens.size() > 3);
    text.clear();
    CHECK(model.detokenize(tokens.data(), tokens.size(), text) && text == france);
    CHECK(model.tokenize("", tokens) && tokens.empty());

    const std::uint32_t table = TAKE(model.tensor("token_embd.weight"));
    const realm_tensor_info tensor = TAKE(model.tensor_info(table));
    std::vector<float> rows;
    CHECK(model.tensor_rows(table, 1, 2, rows) && rows.size() == 2 * tensor.ne[0]);
    CHECK(!model.tensor_rows(table, tensor.ne[1], 1, rows) && !model.tensor("none"));
}

// Everything that realm.h has, realm.hpp has.
void test_library() {
    CHECK(std::string_view(realm::version()) == realm_version() && realm::abi_version() == realm_abi_version());
    const std::string best = realm::cpu_isa();
    CHECK(realm::force_cpu_isa("scalar") && std::string_view(realm::cpu_isa()) == "scalar");
    CHECK(realm::force_cpu_isa("no such level").status() == REALM_STATUS_NOT_FOUND);
    CHECK(realm::force_cpu_isa("") && best == realm::cpu_isa());
}

void test_granted(realm::runtime &runtime, const realm::model &model) {
    realm::session session = TAKE(runtime.open(model));
    CHECK(session.set_models({model.id()}) && session.set_models({}));
    CHECK(session.set_models({model.id() + 1}).status() == REALM_STATUS_NOT_FOUND);
    const std::vector<std::uint32_t> ids = {model.id()};
    CHECK(session.set_models(ids.data(), ids.size()));
    realm::turn turn = session.ask(france);
    CHECK(all(turn) == paris);
}

void test_messages(realm::runtime &runtime, const realm::model &model) {
    std::string said;
    realm::add_message(said, "system", std::string_view("\"\\\n\0\x1f\x7f\xc3\xa9", 8));
    CHECK(said == "[{\"role\":\"system\",\"content\":\"\\\"\\\\\\u000a\\u0000\\u001f\x7f\xc3\xa9\"}]");
    std::vector<char> other; // no more is needed than it has
    realm::add_message(other, "user", "");
    CHECK(std::string_view(other.data(), other.size()) == "[{\"role\":\"user\",\"content\":\"\"}]");

    realm::session session = TAKE(runtime.open(model));
    said.clear();
    realm::add_message(said, "user", france);
    std::string answer;
    {
        realm::turn turn = session.ask(REALM_INPUT_MESSAGES, said);
        answer = all(turn);
        CHECK(turn.ok() && answer == paris);
    }
    realm::add_message(said, "assistant", answer);
    realm::add_message(said, "user", "And of Italy?");
    realm::session asked = TAKE(runtime.open(model));
    CHECK(asked.prompt(REALM_INPUT_CHAT, france));
    while (!TAKE(asked.poll()).is_done()) {
    }
    realm::turn turn = session.ask(REALM_INPUT_MESSAGES, said), same(asked.c(), REALM_INPUT_CHAT, "And of Italy?");
    answer = all(turn);
    CHECK(turn.ok() && !answer.empty() && answer == all(same));
    CHECK(TAKE(session.position()) == TAKE(asked.position()));
}

void test_turns(realm::runtime &runtime, const realm::model &model) {
    realm::session session = TAKE(runtime.open(model));
    {
        realm::turn turn = session.ask(france);
        CHECK(turn.ok() && turn.reason() == 0);
        // Only one turn at a time; the first is not disturbed.
        realm::turn second = session.ask("x");
        CHECK(second.status() == REALM_STATUS_STATE && second.message()[0] != '\0' && all(second).empty());
        CHECK(all(turn) == paris && turn.ok() && turn.reason() == REALM_DONE_EOS);
        CHECK(all(turn).empty() && turn.reason() == REALM_DONE_EOS); // there is no more of it
    }
    // Leaving and going on.
    {
        realm::session other = TAKE(runtime.open(model));
        realm::turn turn = other.ask(france);
        std::string text;
        for (const realm::event &token : turn) {
            text += token.str();
            if (text.size() > 8) {
                break;
            }
        }
        CHECK(text != paris && turn.ok() && turn.reason() == 0);
        text += all(turn);
        CHECK(text == paris);
    }
    // Leaving for good.
    {
        realm::turn turn = session.complete("The capital of Italy is");
        CHECK(turn.begin() != turn.end() && turn.begin()->token >= 0);
        session.cancel();
        (void)all(turn);
        CHECK(turn.ok() && turn.reason() == REALM_DONE_CANCELLED);
    }
    // What is left of a frame is never without limit.
    CHECK(realm::budget_left(16000, 15000) == 1000 && realm::budget_left(16000, 16000) == 1);
    CHECK(realm::budget_left(16000, 16001) == 1 && realm::budget_left(0, UINT64_MAX) == 1);
    CHECK(session.rewind(0) && session.chat(france));
    CHECK(TAKE(session.poll(std::chrono::microseconds(0))).is_again());
    CHECK(TAKE(session.poll(std::chrono::milliseconds(-5))).is_again());
    CHECK(!TAKE(session.poll(std::chrono::hours(1))).is_again());
    // By polling, with a budget; moved in between, polled by another thread.
    session = TAKE(runtime.open(model));
    CHECK(session.set_param("n_predict", "3"));
    CHECK(session.chat(france));
    realm::session moved = std::move(session);
    CHECK(!session);
    std::string text;
    std::uint32_t reason = 0, again = 0;
    std::thread([&] {
        while (reason == 0) {
            const realm::event event = TAKE(moved.poll(10));
            again += event.is_again();
            reason = event.is_done() ? event.reason : 0;
            text += event.str();
        }
    }).join();
    CHECK(reason == REALM_DONE_LENGTH && again > 0 && text == "The capital of");
    CHECK(moved.poll().status() == REALM_STATUS_STATE);
    std::vector<float> logits;
    CHECK(moved.logits(logits) && logits.size() == 2304);
    std::int32_t best[3];
    float logprobs[3];
    CHECK(TAKE(moved.top_logprobs(best, logprobs, 3)) == 3 && logprobs[0] >= logprobs[1]);
    CHECK(logits[static_cast<std::size_t>(best[0])] >= logits[static_cast<std::size_t>(best[1])]);
    std::vector<float> embedding;
    CHECK(!moved.embedding(embedding) && embedding.empty());
    CHECK(TAKE(moved.stats()).generated_tokens == 3);
}

void test_callbacks(realm::runtime &runtime, const realm::model &model) {
    // The guest warns of a context that is longer than the model was trained for.
    const realm_param params[] = {{"ctx", "512"}, {"n_predict", "1"}};
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    std::string log;
    std::int32_t worst = 9;
    auto keep = [&](std::int32_t level, std::string_view line) {
        log += line;
        worst = level < worst ? level : worst;
    };
    realm::set_params(options, params);
    CHECK(options.param_count == 2);
    realm::on_log(options, keep); // captures two references: by address
    realm::session session = TAKE(runtime.open(model, options));
    realm::turn turn = session.ask("x");
    (void)all(turn);
    CHECK(turn.ok() && turn.reason() == REALM_DONE_LENGTH);
    CHECK(log.find("512") != std::string::npos && worst == 1);

    // Progress: of a prompt, from which it may turn away.
    std::uint64_t done = 0, total = 0;
    auto watch = [&](std::uint64_t now, std::uint64_t all) {
        CHECK(now <= all && now >= done);
        done = now, total = all;
        return true;
    };
    realm_session_options watched = REALM_SESSION_OPTIONS_INIT;
    realm::on_progress(watched, watch);
    session = TAKE(runtime.open(model, watched));
    realm::turn seen = session.ask(france);
    CHECK(all(seen) == paris && done == total && total > 3);
    realm::on_progress(watched, [](std::uint64_t, std::uint64_t) { return false; });
    session = TAKE(runtime.open(model, watched));
    realm::turn left = session.ask(france);
    CHECK(all(left).empty() && left.ok() && left.reason() == REALM_DONE_CANCELLED);
    // The last counts, as there is one ctx: nobody is called with another's.
    realm::on_log(watched, keep);
    CHECK(watched.log != nullptr && watched.progress == nullptr);
    realm::on_progress(watched, watch);
    CHECK(watched.log == nullptr && watched.progress != nullptr);

    // Both, in one object.
    struct observer {
        std::string log_text;
        std::uint64_t last = 0;
        void log(std::int32_t, std::string_view line) { log_text += line; }
        bool progress(std::uint64_t now, std::uint64_t) { return last = now, true; }
    } both;
    realm::set_params(watched, params);
    realm::observe(watched, both);
    session = TAKE(runtime.open(model, watched));
    realm::turn observed = session.ask("x");
    (void)all(observed);
    CHECK(observed.ok() && both.log_text.find("512") != std::string::npos && both.last > 0);

    // Of a model that is hashed, and of its digest; what is given up is given back.
    struct hashing {
        std::uint64_t total = 0, most = 0;
        int released = 0;
        void release(const void *, std::size_t) { released++; }
        bool progress(std::uint64_t now, std::uint64_t of) { return total = of, now <= most; }
    } hashed;
    const realm::posix::file file = TAKE(realm::posix::file::map(DEMO_MODEL));
    const realm_bytes part = {file.data(), file.size()};
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm::store store = TAKE(realm::store::create());
    source.parts = &part;
    source.part_count = 1;
    realm::observe(source, hashed);
    CHECK(realm::model::add(source, store.c()).status() == REALM_STATUS_CANCELLED && hashed.released == 1);
    hashed.most = UINT64_MAX;
    realm::model own_model = TAKE(realm::model::add(source, store.c()));
    CHECK(hashed.total == file.size() && hashed.released == 1);
    const std::array<std::uint8_t, 32> sha256 = TAKE(own_model.digest());
    CHECK(std::memcmp(sha256.data(), TAKE(own_model.info()).sha256, 32) == 0);
    own_model.reset();
    CHECK(hashed.released == 2);
    own_model = TAKE(realm::posix::add_model(TAKE(realm::posix::file::map(DEMO_MODEL)), 5, store.c()));
    CHECK(own_model.digest([](std::uint64_t, std::uint64_t) { return false; }).status() == REALM_STATUS_CANCELLED);
    std::uint64_t bytes = 0;
    CHECK(TAKE(own_model.digest([&](std::uint64_t, std::uint64_t of) { return bytes = of, true; })) == sha256);
    CHECK(bytes == file.size());
    own_model.reset();
    CHECK(realm::posix::add_model(TAKE(realm::posix::file::map(DEMO_MODEL)), 0, store.c(),
                                  [](std::uint64_t, std::uint64_t) { return false; })
              .status() == REALM_STATUS_CANCELLED);

    // A kernel that refuses: its status comes out of the turn, the kernel counts by a copy of a reference.
    realm::runtime own = TAKE(realm::runtime::create(realm::posix::platform()));
    int calls = 0;
    CHECK(own.add_kernel(2, 0, [&calls](const realm_kernel_args &args) -> std::int32_t {
        CHECK(args.op->code == 2 && args.dst.data != nullptr);
        return ++calls == 3 ? REALM_STATUS_LIMIT : REALM_STATUS_OK;
    }));
    const auto nothing = [](const realm_kernel_args &) -> std::int32_t { return 0; };
    CHECK(own.add_kernel(9999, 0, nothing).status() == REALM_STATUS_UNSUPPORTED);
    realm::session broken = TAKE(own.open(model.id()));
    realm::turn failing = broken.ask(france);
    CHECK(all(failing).empty() && !failing.ok() && failing.status() == REALM_STATUS_LIMIT && calls == 3);

    realm_backend backend = REALM_BACKEND_INIT;
    CHECK(own.add_backend(backend).status() == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(own.backend_count() >= 1 && own.backend_name(0) != nullptr);
    CHECK(own.backend_name(own.backend_count()) == nullptr);
}

void test_many(realm::runtime &runtime, const realm::model &model) {
    const realm::session sessions[] = {TAKE(runtime.open(model)), TAKE(runtime.open(model))};
    realm_session *const list[] = {sessions[0].c(), sessions[1].c()};
    realm::event events[2];
    realm_error errors[2];
    CHECK(realm_session_prompt(list[0], REALM_INPUT_CHAT, france, sizeof france - 1, nullptr) == REALM_STATUS_OK);
    std::string text;
    do {
        CHECK(realm::poll_many(list, 2, 0, events, errors));
        CHECK(errors[0].status == REALM_STATUS_OK && errors[1].status == REALM_STATUS_STATE);
        text += events[0].str();
    } while (!events[0].is_done());
    CHECK(text == paris);
    const realm::error error(errors[1]);
    CHECK(std::string_view(error.name()) == "REALM_STATUS_STATE" && error.message()[0] != '\0');
    CHECK(realm::poll_many(nullptr, 2, 0, events, errors).status() == REALM_STATUS_INVALID_ARGUMENT);
}

#if defined(__cpp_lib_span)
void test_spans(realm::runtime &runtime, const realm::model &model) {
    const realm::posix::file file = TAKE(realm::posix::file::map(DEMO_MODEL));
    const std::span bytes(static_cast<const std::byte *>(file.data()), file.size());
    bool back = false;
    realm::store store = TAKE(realm::store::create());
    CHECK(realm::model::borrow(bytes, [&back](const void *, std::size_t) { back = true; }, store.c()));
    CHECK(back);
    CHECK(realm::model::copy(bytes, store.c()));
    CHECK(!realm::model::copy(bytes.first(100), store.c()) && !realm::guest::load(bytes));

    std::vector<std::uint32_t> tokens;
    std::string text;
    CHECK(model.tokenize("The capital of Italy is", tokens) && model.detokenize(tokens, text));
    CHECK(text == "The capital of Italy is");
    realm::session session = TAKE(runtime.open(model));
    CHECK(session.prompt(tokens));
    realm_session *const list[] = {session.c()};
    std::vector<realm::event> events(1);
    std::vector<realm_error> errors(2);
    CHECK(realm::poll_many(list, 0, events, errors).status() == REALM_STATUS_INVALID_ARGUMENT);
    errors.resize(1);
    while (!events[0].is_done()) {
        CHECK(realm::poll_many(list, 0, events, errors) && errors[0].status == REALM_STATUS_OK);
        text += events[0].str();
    }
    CHECK(text.find("Rome") != std::string::npos);
}
#endif

// A functor whose operator() may fail.
struct refusing {
    std::int32_t calls;
    realm::result<void> operator()(std::int32_t number) {
        calls++;
        return realm::error(number);
    }
};

// Modules of one's own: callables that answer imports, exports as functions, values, memory, globals, fuel, traps.
void test_wasm() {
    realm_wasm_module_options limited = REALM_WASM_MODULE_OPTIONS_INIT;
    limited.max_module_bytes = 100;
    CHECK(realm::wasm::module::load(wasm, sizeof wasm, limited).status() == REALM_STATUS_LIMIT);
    CHECK(realm::wasm::module::load("text", 4).status() == REALM_STATUS_FORMAT);
    realm::wasm::module module = TAKE(realm::wasm::module::load(wasm, sizeof wasm));

    std::int32_t sums = 0;
    auto sum = [&](realm::wasm::caller from, std::int32_t a, std::int32_t b) -> std::int32_t {
        CHECK(from.write(16, a + b) && TAKE(from.fuel()) > 0);
        CHECK(from.find_number("ask").status() == REALM_STATUS_STATE);
        sums++;
        return a + b;
    };
    refusing stop = {0};
    const realm_wasm_import imports[] = {
        realm::wasm::link("env", "sum", sum),
        realm::wasm::link("env", "stop", stop),
    };
    CHECK(std::string_view(imports[0].signature) == "i(ii)" && std::string_view(imports[1].signature) == "v(i)");
    const realm_wasm_import of_all_types =
        realm::wasm::link("m", "n", [](std::uint32_t, std::uint64_t, std::int64_t, float, double) { return 1.5f; });
    CHECK(std::string_view(of_all_types.signature) == "f(iIIfF)");
    CHECK(module.instantiate().status() == REALM_STATUS_NOT_FOUND);
    realm_wasm_options options = REALM_WASM_OPTIONS_INIT;
    options.fuel = 100000;
    options.max_memory_bytes = 131072;
    realm::wasm::instance instance = TAKE(module.instantiate(imports, options));
    module.reset();

    using binary = std::int32_t(std::int32_t, std::int32_t);
    const realm::wasm::function ask = TAKE(instance.find<binary>("ask"));
    CHECK(TAKE(ask(40, 2)) == 42 && sums == 1 && TAKE(instance.read<std::int32_t>(16)) == 42);
    const realm::wasm::function mix = TAKE((instance.find<double(std::int64_t, float, double)>("mix")));
    CHECK(TAKE(mix(-2, 0.5f, 0.25)) == -1.25);
    const realm::wasm::function unsigned_mix = TAKE((instance.find<double(std::uint64_t, float, double)>("mix")));
    CHECK(TAKE(unsigned_mix(static_cast<std::uint64_t>(-2), 0.5f, 0.25)) == -1.25);
    // What it is and what it was taken for are said.
    const auto wrong = instance.find<void(float)>("ask");
    CHECK(wrong.status() == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(std::string_view(wrong.message()) == "'ask' is i(ii), not v(f)");
    CHECK(instance.find<void()>("none").status() == REALM_STATUS_NOT_FOUND);
    const realm::wasm::function halt = TAKE(instance.find<void(std::int32_t)>("stop"));
    CHECK(halt(REALM_STATUS_CANCELLED).status() == REALM_STATUS_CANCELLED && stop.calls == 1);
    CHECK(halt(0) && stop.calls == 2);
    std::string signature;
    CHECK(instance.signature(mix.number_in_c(), signature) && signature == "F(IfF)");
    realm_wasm_value values[] = {realm::wasm::value(1), realm::wasm::value(2)};
    CHECK(instance.call(ask.number_in_c(), values, 2, values, 1) && values[0].of.i32 == 3);
    CHECK(instance.call(ask.number_in_c(), values, 1, values, 1).status() == REALM_STATUS_INVALID_ARGUMENT);

    CHECK(TAKE(instance.memory_size()) == 65536 && TAKE(instance.grow(1)) == 65536);
    CHECK(instance.grow(1).status() == REALM_STATUS_LIMIT);
    const char text[] = "text";
    char back[5] = {};
    CHECK(instance.write(131000, text, 5) && instance.read(131000, back, 5) && std::string_view(back) == text);
    CHECK(!instance.write(131070, text, 5) && !instance.read<double>(131065));
    CHECK(TAKE(instance.global<std::int32_t>("count")) == 7 && instance.set_global("count", 9));
    CHECK(TAKE(instance.global<std::uint32_t>("count")) == 9);
    CHECK(instance.global<float>("count").status() == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(instance.set_global("count", 9.0).status() == REALM_STATUS_INVALID_ARGUMENT);

    const auto trapped = (*instance.find<void()>("trap"))();
    CHECK(trapped.status() == REALM_STATUS_GUEST && std::string_view(trapped.message()).find("unreachable") < 99);
    const realm::wasm::function spin = TAKE(instance.find<void()>("spin"));
    CHECK(spin().status() == REALM_STATUS_LIMIT && instance.add_fuel(1000) && TAKE(instance.fuel()) >= 1000);
    CHECK(TAKE(ask(1, 2)) == 3);
    CHECK(realm::wasm::instance().fuel().status() == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm::wasm::function<binary>()(1, 2).status() == REALM_STATUS_INVALID_ARGUMENT);
}

// Back, twice, and away and back again: always the same words.
void test_states(realm::runtime &runtime, const realm::model &model) {
    const realm_memory_plan plan = TAKE(runtime.plan(model, 64));
    CHECK(plan.kv_bytes > 0 && plan.total_bytes > plan.kv_bytes);
    realm::session session = TAKE(runtime.open(model));
    CHECK(TAKE(session.position()) == 0);
    std::vector<unsigned char> state;
    CHECK(session.save(state));
    realm::turn first = session.ask(france);
    CHECK(all(first) == paris && TAKE(session.position()) > 0);
    realm::session other = TAKE(session.fork());
    CHECK(TAKE(other.position()) == TAKE(session.position()));
    CHECK(session.rewind(0) && TAKE(session.position()) == 0 && !session.rewind(1));
    realm::turn again = session.ask(france);
    CHECK(all(again) == paris);
    realm::session loaded = TAKE(runtime.load(model, state.data(), state.size()));
    realm::turn third = loaded.ask(france);
    CHECK(all(third) == paris);
    // Through callbacks, which capture as much as they like: they are called within the call.
    std::vector<unsigned char> pieces;
    std::size_t calls = 0, at = 0;
    CHECK(loaded.rewind(0));
    CHECK(loaded.save_to([&](const void *data, std::size_t bytes) -> std::int32_t {
        const auto *from = static_cast<const unsigned char *>(data);
        pieces.insert(pieces.end(), from, from + bytes);
        calls++;
        return 0;
    }));
    CHECK(calls > 1 && TAKE(loaded.position()) == 0);
    auto read = [&](void *data, std::size_t bytes) -> std::int32_t {
        if (bytes > pieces.size() - at) {
            return REALM_STATUS_FORMAT;
        }
        std::memcpy(data, pieces.data() + at, bytes);
        at += bytes;
        return 0;
    };
    realm::session fourth = TAKE(runtime.load_from(model, read));
    CHECK(at == pieces.size());
    realm::turn last = fourth.ask(france);
    CHECK(all(last) == paris);
    CHECK(runtime.load_from(model, read).status() == REALM_STATUS_FORMAT); // there is no more
    const auto full = [](const void *, std::size_t) -> std::int32_t { return REALM_STATUS_LIMIT; };
    CHECK(fourth.save_to(full).status() == REALM_STATUS_LIMIT);

    // An image does what the session would.
    realm::session fresh = TAKE(runtime.open(model));
    CHECK(fresh.record(full).status() == REALM_STATUS_LIMIT);
    std::vector<unsigned char> image;
    CHECK(fresh.record([&](const void *data, std::size_t bytes) -> std::int32_t {
        const auto *from = static_cast<const unsigned char *>(data);
        image.insert(image.end(), from, from + bytes);
        return 0;
    }));
    const realm::guest replayed = TAKE(realm::guest::load(image.data(), image.size()));
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    options.guest = replayed.c();
    realm::session replay = TAKE(runtime.open(model, options));
    realm::turn begun = fresh.complete("The capital of"), begun_again = replay.complete("The capital of");
    const std::string text = all(begun);
    CHECK(!text.empty() && all(begun_again) == text);

    state[state.size() / 2] ^= 1;
    CHECK(runtime.load(model, state.data(), state.size()).status() == REALM_STATUS_FORMAT);
}

// Vectors grow to what is there.
void test_embeddings(realm::runtime &runtime, const realm::model &makes_text) {
    const realm::model model = TAKE(realm::posix::add_model(TAKE(realm::posix::file::map(EMBEDDING_MODEL))));
    realm::session session = TAKE(runtime.open(model));
    std::vector<float> at_once, of_turn(100);
    CHECK(session.embed("30", at_once) && at_once.size() == 16);
    realm::turn turn = session.complete("30");
    CHECK(all(turn).empty() && session.embedding(of_turn) && of_turn == at_once);
    CHECK(session.logits(of_turn).status() == REALM_STATUS_NOT_FOUND);
    realm::session other = TAKE(runtime.open(makes_text));
    CHECK(other.embed("30", at_once).status() == REALM_STATUS_NOT_FOUND);
}

} // namespace

int main() {
    if (realm::posix::file::map(DEMO_MODEL).status() == REALM_STATUS_NOT_FOUND) {
        std::fprintf(stderr, "skipped: there is no %s\n", DEMO_MODEL);
        return 77;
    }
    test_failures();
    test_ownership();
    test_wasm();
    test_ends();
    test_files();
    realm::posix::pool pool = TAKE(realm::posix::pool::create(2));
    CHECK(pool.pin(nullptr, 0).status() != REALM_STATUS_OK);
    CHECK(pool.platform() != nullptr && realm::posix::pool().platform()->parallel_for == nullptr);
    realm::runtime runtime = TAKE(realm::runtime::create(pool.platform()));
    realm::model model = demo();
    test_library();
    test_model_facts(model);
    test_granted(runtime, model);
    test_messages(runtime, model);
    test_turns(runtime, model);
    test_callbacks(runtime, model);
    test_many(runtime, model);
    test_states(runtime, model);
    test_embeddings(runtime, model);
#if defined(__cpp_lib_span)
    test_spans(runtime, model);
#endif

    // In any order: the session keeps runtime and model.
    realm::session last = TAKE(runtime.open(model));
    model.reset();
    runtime.reset();
    realm::turn turn = last.ask(france);
    CHECK(all(turn) == paris);
    return 0;
}
