// 11_cpp.cpp - the same from C++: owners, results, and a turn as a range. Builds with -fno-exceptions -fno-rtti.
//
//     11_cpp model.gguf "What is the capital of France?"
#include <cstdio>
#include <string>
#include <string_view>

#include "realm_posix.hpp"

namespace {

int failed(const char *message) {
    std::fprintf(stderr, "11_cpp: %s\n", message);
    return 1;
}

} // namespace

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "examples-c/demo/realm-demo.gguf";
    const std::string_view question = argc > 2 ? argv[2] : "What is the capital of France?";

    // Each step may fail; a result is true when it did not. Everything is closed at the end of main, in whatever order.
    realm::result file = realm::posix::file::map(path);
    if (!file) return failed(file.message());
    realm::result model = realm::posix::add_model(std::move(*file));
    if (!model) return failed(model.message());
    realm::result runtime = realm::runtime::create(realm::posix::platform());
    if (!runtime) return failed(runtime.message());

    // Callbacks are callables: a named one by its address, a small one by value.
    std::size_t warnings = 0;
    const realm_param params[] = {{"n_predict", "64"}, {"temp", "0"}};
    realm_session_options options = REALM_SESSION_OPTIONS_INIT; // structs are those of C
    realm::set_params(options, params);
    realm::on_log(options, [&warnings](std::int32_t level, std::string_view line) {
        warnings += level <= 1;
        std::fprintf(stderr, "guest: %.*s\n", static_cast<int>(line.size()), line.data());
    });
    realm::result session = runtime->open(*model, options);
    if (!session) return failed(session.message());

    // One turn. The range ends with it, or at a failure; which of the two is asked afterwards.
    std::string answer;
    realm::turn turn = session->ask(question);
    for (const realm::event &token : turn) {
        answer += token.str();
    }
    if (!turn.ok()) return failed(turn.message());
    std::printf("%s\n", answer.c_str());

    // What has no wrapper is called as in C.
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    if (realm_session_get_stats(session->c(), &stats) != REALM_STATUS_OK) return failed("no statistics");
    std::printf("%llu tokens\n", static_cast<unsigned long long>(stats.generated_tokens));

    if (argc > 1) return 0;
    return answer == "The capital of France is Paris." && turn.reason() == REALM_DONE_EOS && warnings == 0 ? 0 : 1;
}
