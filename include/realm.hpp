// realm.hpp - Realm from C++17 and later: realm.h with owners, results and ranges.
//
// Header-only: every function here is an inline call of one in realm.h, all of which can be had here; units, limits, threads
// and the reasons for failing are described there. Nothing is hidden: each object gives its C pointer by c(), and C
// structs are filled in as in C (realm_session_options options = REALM_SESSION_OPTIONS_INIT;). Modules of your own are in
// realm_wasm.hpp, files and threads in realm_posix.hpp.
//
// Objects own what they stand for, can be moved and not copied, and are empty (c() is NULL) when
// default-constructed or moved from. They may be ended in any order; the exceptions are a model in a store
// of one's own, which must end before the store, and a turn, which must end before its session.
//
// It is one long file, because one include is what a header-only interface is for.
//
// Nothing throws and nothing needs RTTI. What can fail returns a result<T>, which holds the value
// or one line of text and tests true on success; only functions that fill a container of yours allocate, by its
// resize(). Callbacks may not throw.
#ifndef REALM_HPP
#define REALM_HPP

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#error "realm.hpp needs C++17 or later: compile with -std=c++17 (MSVC: /std:c++17), or use realm.h"
#endif

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#include "realm.h"

#if __has_include(<version>)
#include <version>
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif

namespace realm {

// ---- Results ------------------------------------------------------------------------------------

// What went wrong, or (status 0, an empty line) that nothing did. 256 bytes, nothing allocated.
class error {
public:
    // Nothing went wrong.
    error() noexcept = default;
    // A copy of what a C function has written.
    explicit error(const realm_error &c) noexcept : c_(c) {}
    // For functions that report no line of text: the status's name stands in for it.
    explicit error(realm_status status) noexcept {
        c_.status = status;
        if (status != REALM_STATUS_OK) {
            const std::string_view name = realm_status_name(status);
            std::memcpy(c_.message, name.data(), name.size() < sizeof c_.message ? name.size() : sizeof c_.message - 1);
        }
    }

    // REALM_STATUS_OK, or a negative REALM_STATUS_....
    realm_status status() const noexcept { return c_.status; }
    // One line of UTF-8, terminated. Valid as long as this object.
    const char *message() const noexcept { return c_.message; }
    // Such as "REALM_STATUS_NO_MEMORY".
    const char *name() const noexcept { return realm_status_name(c_.status); }
    // For C functions to write to. Valid as long as this object.
    realm_error *c() noexcept { return &c_; }

private:
    realm_error c_ = {};
};

// A value, or why there is none: then it is a default-constructed one, an empty handle for example, which is
// safe to have and of no use.
template <class T> class [[nodiscard]] result {
public:
    // A success, and its value.
    result(T value) noexcept : value_(std::move(value)) {}
    // A failure. (Of an error with status 0 it makes a success with a default-constructed value.)
    result(const realm::error &error) noexcept : error_(error) {}

    // Whether there is a value.
    bool ok() const noexcept { return error_.status() == REALM_STATUS_OK; }
    // The same, for `if (result)`.
    explicit operator bool() const noexcept { return ok(); }
    // What error() says, for short; 0 and an empty line if there is a value.
    realm_status status() const noexcept { return error_.status(); }
    const char *message() const noexcept { return error_.message(); }
    // Why there is no value.
    const realm::error &error() const noexcept { return error_; }

    // The value; out of a result that is moved from, it is moved.
    T &operator*() & noexcept { return value_; }
    const T &operator*() const & noexcept { return value_; }
    T &&operator*() && noexcept { return std::move(value_); }
    T *operator->() noexcept { return &value_; }
    const T *operator->() const noexcept { return &value_; }

private:
    T value_ = T();
    realm::error error_;
};

// That something has been done, or why not. Its members are those of other results.
template <> class [[nodiscard]] result<void> {
public:
    // A success.
    result() noexcept = default;
    // A failure, if the error's status is not 0.
    result(const realm::error &error) noexcept : error_(error) {}

    // Whether it has been done.
    bool ok() const noexcept { return error_.status() == REALM_STATUS_OK; }
    explicit operator bool() const noexcept { return ok(); }
    realm_status status() const noexcept { return error_.status(); }
    const char *message() const noexcept { return error_.message(); }
    const realm::error &error() const noexcept { return error_; }

private:
    realm::error error_;
};

// ---- What the classes below are made of ---------------------------------------------------------

namespace detail {

// A C pointer with its _destroy, _close or _unload.
template <class T, void (*End)(T *)> class handle {
public:
    // An empty one.
    handle() noexcept = default;
    // Takes a C pointer over.
    explicit handle(T *c) noexcept : c_(c) {}
    handle(handle &&other) noexcept : c_(other.release()) {}
    handle &operator=(handle &&other) noexcept {
        reset(other.release());
        return *this;
    }
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    ~handle() { reset(); }

    // Valid as long as this object owns it. NULL if it is empty.
    T *c() const noexcept { return c_; }
    // Whether it is not empty.
    explicit operator bool() const noexcept { return c_ != nullptr; }
    // Gives it up: the caller ends it.
    T *release() noexcept { return std::exchange(c_, nullptr); }
    // Ends what is owned, and takes over `c`.
    void reset(T *c = nullptr) noexcept {
        if (T *old = std::exchange(c_, c)) {
            End(old);
        }
    }

private:
    T *c_ = nullptr;
};

// A callable in the `void *` that C hands back: its address if it is an lvalue, which must then live as
// long as it may be called; else the callable itself, which must fit. So nothing is allocated.
template <class F> struct callback {
    using plain = std::remove_reference_t<F>;
    static constexpr bool by_address = std::is_lvalue_reference_v<F>;
    static_assert(by_address || (sizeof(plain) <= sizeof(void *) && std::is_trivially_copyable_v<plain>),
                  "pass a named callable that outlives its use, or one that captures one pointer or reference at most");

    static void *pack(plain &f) noexcept {
        if constexpr (by_address) {
            return const_cast<void *>(static_cast<const void *>(std::addressof(f)));
        } else {
            void *ctx = nullptr;
            if constexpr (!std::is_empty_v<plain>) {
                std::memcpy(&ctx, std::addressof(f), sizeof(plain));
            }
            return ctx;
        }
    }

    template <class... Args> static decltype(auto) call(void *ctx, Args &&...args) noexcept {
        if constexpr (by_address) {
            return (*static_cast<plain *>(ctx))(std::forward<Args>(args)...);
        } else {
            alignas(void *) unsigned char memory[sizeof(void *)];
            std::memcpy(memory, &ctx, sizeof ctx);
            return (*std::launder(reinterpret_cast<plain *>(memory)))(std::forward<Args>(args)...);
        }
    }
};

// Calls `call(data, capacity, &count, realm_error *)` until `out` has room, and cuts `out` to size.
template <class T, class Out, class Call> result<void> fill(Out &out, Call call) {
    for (;;) {
        realm::error error;
        std::size_t count = 0;
        T *const data = out.data();
        const realm_status status = call(data, static_cast<std::size_t>(out.size()), &count, error.c());
        if (status == REALM_STATUS_BUFFER_TOO_SMALL && count > out.size()) {
            out.resize(count);
        } else if (status != REALM_STATUS_OK) {
            return error;
        } else {
            out.resize(count);
            return {};
        }
    }
}

inline result<void> status_of(realm_status status, const realm::error &error) noexcept {
    return status == REALM_STATUS_OK ? result<void>() : result<void>(error);
}

// A failure that is found here, in so many words.
inline realm::error failure(realm_status status, std::initializer_list<std::string_view> words) noexcept {
    realm_error c = {};
    std::size_t used = 0;
    c.status = status;
    for (const std::string_view word : words) {
        const std::size_t room = sizeof c.message - 1 - used;
        const std::size_t bytes = word.size() < room ? word.size() : room;
        std::memcpy(c.message + used, word.data(), bytes);
        used += bytes;
    }
    return realm::error(c);
}

// Which of the functions below an observer has.
template <class T, class = void> constexpr bool has_log = false;
template <class T>
constexpr bool has_log<
    T, std::void_t<decltype(std::declval<T &>().log(std::int32_t(), std::string_view()))>> = true;
template <class T, class = void> constexpr bool has_progress = false;
template <class T>
constexpr bool has_progress<
    T, std::void_t<decltype(std::declval<T &>().progress(std::uint64_t(), std::uint64_t()))>> = true;
template <class T, class = void> constexpr bool has_release = false;
template <class T>
constexpr bool has_release<
    T, std::void_t<decltype(std::declval<T &>().release(static_cast<const void *>(nullptr), std::size_t()))>> = true;

// In C++ true is to go on, in C 0.
template <class R> constexpr std::int32_t go_on(R answer) noexcept {
    static_assert(std::is_same_v<R, bool>, "progress returns a bool: whether to go on");
    return answer ? 0 : 1;
}

} // namespace detail

// ---- Callbacks and options ----------------------------------------------------------------------

// The two below take a named callable by its address: it must live as long as it may be called. An unnamed
// one is kept by value and must capture no more than one pointer or reference; each call gets it as it was.

// Has `f(const void *data, std::size_t bytes)` called when the library is finished with a part.
template <class F> void on_release(realm_model_source &source, F &&f) noexcept {
    source.ctx = detail::callback<F>::pack(f);
    source.progress = nullptr;
    source.release = [](void *ctx, const void *data, std::size_t bytes) {
        (void)detail::callback<F>::call(ctx, data, bytes);
    };
}

// Has `f(std::int32_t level, std::string_view line)` called with the guest's log. Level 0 is an error,
// 1 a warning, 2 information, 3 for debugging.
template <class F> void on_log(realm_session_options &options, F &&f) noexcept {
    options.ctx = detail::callback<F>::pack(f);
    options.progress = nullptr;
    options.log = [](void *ctx, std::int32_t level, const char *text, std::size_t bytes) {
        (void)detail::callback<F>::call(ctx, level, std::string_view(text, bytes));
    };
}

// Has `f(std::uint64_t done, std::uint64_t total)` told how many tokens of a prompt are in; it returns whether to go on. The C
// struct has one ctx: of on_log, on_progress and observe the last counts, and what the others set is taken back.
template <class F> void on_progress(realm_session_options &options, F &&f) noexcept {
    options.ctx = detail::callback<F>::pack(f);
    options.log = nullptr;
    options.progress = [](void *ctx, std::uint64_t done, std::uint64_t total) -> std::int32_t {
        return detail::go_on(detail::callback<F>::call(ctx, done, total));
    };
}

// Both in one object, which must live as long as it may be called: `void log(std::int32_t level, std::string_view line)`,
// `bool progress(std::uint64_t done, std::uint64_t total)`, or one of them.
template <class T> void observe(realm_session_options &options, T &observer) noexcept {
    static_assert(detail::has_log<T> || detail::has_progress<T>, "an observer has log() or progress()");
    options.ctx = static_cast<void *>(std::addressof(observer));
    options.log = nullptr;
    options.progress = nullptr;
    if constexpr (detail::has_log<T>) {
        options.log = [](void *ctx, std::int32_t level, const char *text, std::size_t bytes) {
            static_cast<T *>(ctx)->log(level, std::string_view(text, bytes));
        };
    }
    if constexpr (detail::has_progress<T>) {
        options.progress = [](void *ctx, std::uint64_t done, std::uint64_t total) -> std::int32_t {
            return detail::go_on(static_cast<T *>(ctx)->progress(done, total));
        };
    }
}

// Of a model that is registered: `void release(const void *data, std::size_t bytes)`, `bool progress(std::uint64_t done,
// std::uint64_t total)` while its bytes are hashed, or one of them.
template <class T> void observe(realm_model_source &source, T &observer) noexcept {
    static_assert(detail::has_release<T> || detail::has_progress<T>, "an observer has release() or progress()");
    source.ctx = static_cast<void *>(std::addressof(observer));
    source.release = nullptr;
    source.progress = nullptr;
    if constexpr (detail::has_release<T>) {
        source.release = [](void *ctx, const void *data, std::size_t bytes) { static_cast<T *>(ctx)->release(data, bytes); };
    }
    if constexpr (detail::has_progress<T>) {
        source.progress = [](void *ctx, std::uint64_t done, std::uint64_t total) -> std::int32_t {
            return detail::go_on(static_cast<T *>(ctx)->progress(done, total));
        };
    }
}

// An array of {key, value}, needed until the session is open.
template <std::size_t N> void set_params(realm_session_options &options, const realm_param (&params)[N]) noexcept {
    options.params = params;
    options.param_count = N;
}

// ---- Stores, models, guests ---------------------------------------------------------------------

// A table of models. An empty one stands for the process-wide table, as NULL does in C.
class store : public detail::handle<realm_store, realm_store_destroy> {
public:
    using handle::handle;
    // A new table, as realm_store_create makes it.
    static result<store> create() noexcept {
        realm::error error;
        realm_store *c = nullptr;
        if (realm_store_create(&c, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return store(c);
    }
    // The ids that are registered, in ascending order. `out` is a std::vector<std::uint32_t> or the like.
    template <class Vector> result<void> list(Vector &out) const {
        return detail::fill<std::uint32_t>(
            out, [this](std::uint32_t *ids, std::size_t room, std::size_t *count, realm_error *error) {
                const realm_status status = realm_model_list(c(), ids, room, count);
                *error = *realm::error(status).c(); // no line of text comes with this one
                return status;
            });
    }
};

// A registration of a model, taken back at the end. Sessions that are open keep its bytes.
//
// The store is borrowed: a model must not outlive a store of one's own. NULL is the process-wide store.
class model {
public:
    // An empty one.
    model() noexcept = default;
    // Takes over a registration.
    explicit model(std::uint32_t id, realm_store *store = nullptr) noexcept : id_(id), store_(store) {}
    model(model &&other) noexcept : id_(std::exchange(other.id_, 0)), store_(other.store_) {}
    model &operator=(model &&other) noexcept {
        if (this != &other) {
            reset();
            store_ = other.store_;
            id_ = other.release();
        }
        return *this;
    }
    model(const model &) = delete;
    model &operator=(const model &) = delete;
    ~model() { reset(); }

    // Registers what is described as in C, whose rules for the parts and their release hold.
    static result<model> add(const realm_model_source &source, realm_store *store = nullptr) noexcept {
        realm::error error;
        std::uint32_t id = 0;
        if (realm_model_register(store, &source, &id, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return model(id, store);
    }
    // A GGUF file in memory of the caller's, used in place; `released(data, bytes)` is called exactly once
    // when it is not needed any more, also after a failure. See on_release.
    template <class F>
    static result<model> borrow(const void *data, std::size_t bytes, F &&released,
                                realm_store *store = nullptr) noexcept {
        const realm_bytes part = {data, bytes};
        realm_model_source source = REALM_MODEL_SOURCE_INIT;
        source.parts = &part;
        source.part_count = 1;
        on_release(source, std::forward<F>(released));
        return add(source, store);
    }
    // A GGUF file in memory of the caller's, of which the library makes a copy.
    static result<model> copy(const void *data, std::size_t bytes, realm_store *store = nullptr) noexcept {
        const realm_bytes part = {data, bytes};
        realm_model_source source = REALM_MODEL_SOURCE_INIT;
        source.parts = &part;
        source.part_count = 1;
        source.flags = REALM_MODEL_COPY;
        return add(source, store);
    }

    // What the C functions want: 0 if it is empty.
    std::uint32_t id() const noexcept { return id_; }
    // Where it is registered; NULL is the process-wide store.
    realm_store *store() const noexcept { return store_; }
    // Whether it is not empty.
    explicit operator bool() const noexcept { return id_ != 0; }
    // Gives the registration up: it stays.
    std::uint32_t release() noexcept { return std::exchange(id_, 0); }
    // Takes the registration back.
    void reset() noexcept {
        if (const std::uint32_t id = std::exchange(id_, 0)) {
            (void)realm_model_remove(store_, id, nullptr);
        }
    }

    // What realm_model_get_info tells.
    result<realm_model_info> info() const noexcept {
        realm::error error;
        realm_model_info info = REALM_MODEL_INFO_INIT;
        if (realm_model_get_info(store_, id_, &info, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return info;
    }

    // SHA-256 of all its bytes, which are read for it the first time; `progress` as in observe(), needed for the call only.
    result<std::array<std::uint8_t, 32>> digest() const noexcept {
        return digest([](std::uint64_t, std::uint64_t) { return true; });
    }
    template <class F> result<std::array<std::uint8_t, 32>> digest(F &&progress) const noexcept {
        realm::error error;
        std::array<std::uint8_t, 32> sha256 = {};
        using by_address = detail::callback<std::remove_reference_t<F> &>;
        const realm_progress_fn call = [](void *ctx, std::uint64_t done, std::uint64_t total) -> std::int32_t {
            return detail::go_on(by_address::call(ctx, done, total));
        };
        if (realm_model_digest_watched(store_, id_, call, by_address::pack(progress), sha256.data(), error.c()) !=
            REALM_STATUS_OK) {
            return error;
        }
        return sha256;
    }

    // The key of a metadata entry, from 0 to info().kv_count, and its GGUF type. `key` is a std::string or the like.
    template <class String> result<std::uint32_t> meta_key(std::size_t index, String &key) const {
        std::uint32_t type = 0;
        const result<void> found =
            detail::fill<char>(key, [&](char *data, std::size_t room, std::size_t *size, realm_error *error) {
                return realm_model_meta_key(store_, id_, index, data, room, size, &type, error);
            });
        if (!found) {
            return found.error();
        }
        return type;
    }
    // The number of elements of an array.
    result<std::uint64_t> meta_count(std::string_view key) const noexcept {
        realm::error error;
        std::uint64_t count = 0;
        if (realm_model_meta_count(store_, id_, key.data(), key.size(), &count, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return count;
    }
    // Metadata, as an integer, a float or a string; `index` -1 is an entry that is no array, others are elements of one.
    result<std::int64_t> meta_int(std::string_view key, std::int64_t index = -1) const noexcept {
        realm::error error;
        std::int64_t value = 0;
        if (realm_model_meta_int(store_, id_, key.data(), key.size(), index, &value, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return value;
    }
    result<double> meta_float(std::string_view key, std::int64_t index = -1) const noexcept {
        realm::error error;
        double value = 0;
        if (realm_model_meta_float(store_, id_, key.data(), key.size(), index, &value, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return value;
    }
    // `out` is a std::string, or what has its data(), size() and resize().
    template <class String>
    result<void> meta_string(std::string_view key, String &out, std::int64_t index = -1) const {
        return detail::fill<char>(out, [&](char *data, std::size_t room, std::size_t *size, realm_error *error) {
            return realm_model_meta_string(store_, id_, key.data(), key.size(), index, data, room, size, error);
        });
    }

    // `out` is a std::vector<std::uint32_t> or the like; `flags` are REALM_TOKENIZE_....
    template <class Vector> result<void> tokenize(std::string_view text, Vector &out, std::uint32_t flags = 0) const {
        return detail::fill<std::uint32_t>(
            out, [&](std::uint32_t *data, std::size_t room, std::size_t *size, realm_error *error) {
                return realm_model_tokenize(store_, id_, text.data(), text.size(), flags, data, room, size, error);
            });
    }
    // `out` is a std::string or the like; `flags` are REALM_DETOKENIZE_....
    template <class String>
    result<void> detokenize(const std::uint32_t *tokens, std::size_t count, String &out,
                            std::uint32_t flags = 0) const {
        return detail::fill<char>(out, [&](char *data, std::size_t room, std::size_t *size, realm_error *error) {
            return realm_model_detokenize(store_, id_, tokens, count, flags, data, room, size, error);
        });
    }

#if defined(__cpp_lib_span)
    // The same for who has spans (C++20), here and below.
    template <class F>
    static result<model> borrow(std::span<const std::byte> file, F &&released, realm_store *store = nullptr) noexcept {
        return borrow(file.data(), file.size(), std::forward<F>(released), store);
    }
    static result<model> copy(std::span<const std::byte> file, realm_store *store = nullptr) noexcept {
        return copy(file.data(), file.size(), store);
    }
    template <class String>
    result<void> detokenize(std::span<const std::uint32_t> tokens, String &out, std::uint32_t flags = 0) const {
        return detokenize(tokens.data(), tokens.size(), out, flags);
    }
#endif

    // The index of a tensor.
    result<std::uint32_t> tensor(std::string_view name) const noexcept {
        realm::error error;
        std::uint32_t index = 0;
        if (realm_model_tensor_find(store_, id_, name.data(), name.size(), &index, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return index;
    }
    // What realm_model_tensor_info tells of the tensor with this index.
    result<realm_tensor_info> tensor_info(std::uint32_t tensor) const noexcept {
        realm::error error;
        realm_tensor_info info = REALM_TENSOR_INFO_INIT;
        if (realm_model_tensor_info(store_, id_, tensor, &info, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return info;
    }
    // Rows as floats; `count` 0 is all from `first` on. `out` is a std::vector<float> or the like.
    template <class Vector>
    result<void> tensor_rows(std::uint32_t tensor, std::uint64_t first, std::uint64_t count, Vector &out) const {
        return detail::fill<float>(out, [&](float *data, std::size_t room, std::size_t *size, realm_error *error) {
            return realm_model_tensor_read(store_, id_, tensor, first, count, data, room, size, error);
        });
    }

private:
    std::uint32_t id_ = 0;
    realm_store *store_ = nullptr;
};

// A guest of one's own; sessions opened with it keep it.
class guest : public detail::handle<realm_guest, realm_guest_unload> {
public:
    using handle::handle;
    // Loads a module or an image, whose bytes are not needed afterwards.
    static result<guest> load(const void *data, std::size_t bytes) noexcept {
        realm::error error;
        realm_guest *c = nullptr;
        if (realm_guest_load(data, bytes, &c, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return guest(c);
    }
#if defined(__cpp_lib_span)
    static result<guest> load(std::span<const std::byte> data) noexcept { return load(data.data(), data.size()); }
#endif
};

// ---- Sessions -----------------------------------------------------------------------------------

// What a poll brought: the C struct, ready to be written to, with readers.
struct event : realm_event {
    // Nothing has come yet: AGAIN, no token, no text.
    event() noexcept : realm_event(REALM_EVENT_INIT) {}
    // The budget was spent; a token, text or both; the end of the turn, with its `reason`.
    bool is_again() const noexcept { return kind == REALM_EVENT_AGAIN; }
    bool is_token() const noexcept { return kind == REALM_EVENT_TOKEN; }
    bool is_done() const noexcept { return kind == REALM_EVENT_DONE; }
    // Whole characters, perhaps none. Valid until the next call for the session.
    std::string_view str() const noexcept { return std::string_view(text, text_bytes); }
};
// An array of them is an array of realm_event.
static_assert(sizeof(event) == sizeof(realm_event) && std::is_standard_layout_v<event>, "realm::event has no members");

// The tokens of one turn as a range:
//
//     realm::turn turn = session.ask("Who are you?");
//     for (const realm::event &token : turn) { write(token.str()); }
//     if (!turn.ok()) { complain(turn.message()); }
//
// Each step waits for the next token, for as long as that takes; who cannot wait polls the session instead.
// The loop ends with the turn or at a failure. Leaving it early leaves the turn running: another loop over the same
// object goes on with the next token, and after session::cancel() runs to the end.
class [[nodiscard]] turn {
public:
    // Where the range ends.
    struct sentinel {};
    // Steps through the turn, in one direction and once: an input iterator.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = event;
        using difference_type = std::ptrdiff_t;
        using pointer = const event *;
        using reference = const event &;

        iterator() noexcept = default;
        explicit iterator(turn *of) noexcept : of_(of) {}
        reference operator*() const noexcept { return of_->event_; }
        pointer operator->() const noexcept { return &of_->event_; }
        iterator &operator++() noexcept {
            of_->next();
            return *this;
        }
        void operator++(int) noexcept { of_->next(); }
        bool operator==(sentinel) const noexcept { return !of_->running_; }
        bool operator!=(sentinel) const noexcept { return of_->running_; }

    private:
        turn *of_ = nullptr;
    };

    // Begins a turn as realm_session_prompt does. If that fails the range is empty, and ok() tells.
    turn(realm_session *session, std::uint32_t kind, const void *data, std::size_t bytes) noexcept : session_(session) {
        running_ = realm_session_prompt(session, kind, data, bytes, error_.c()) == REALM_STATUS_OK;
    }
    // The same with text; of the kinds of input, all but token ids are.
    turn(realm_session *session, std::uint32_t kind, std::string_view text) noexcept
        : turn(session, kind, text.data(), text.size()) {}
    turn(const turn &) = delete; // an iterator knows where it is
    turn &operator=(const turn &) = delete;

    // Waits for the first token, or, if there have been some, for the next.
    iterator begin() noexcept {
        next();
        return iterator(this);
    }
    // What begin() comes to when the turn has ended or failed.
    sentinel end() const noexcept { return {}; }

    // Whether nothing has failed so far.
    bool ok() const noexcept { return error_.status() == REALM_STATUS_OK; }
    // What has failed; 0 and an empty line if nothing has.
    realm_status status() const noexcept { return error_.status(); }
    const char *message() const noexcept { return error_.message(); }
    const realm::error &error() const noexcept { return error_; }
    // REALM_DONE_..., 0 until the turn has ended.
    std::uint32_t reason() const noexcept { return event_.is_done() ? event_.reason : 0; }

private:
    void next() noexcept {
        while (running_) {
            running_ = realm_session_poll(session_, REALM_BUDGET_UNLIMITED, &event_, error_.c()) == REALM_STATUS_OK && !event_.is_done();
            if (event_.is_token()) {
                return;
            }
        }
    }

    realm_session *session_;
    bool running_ = false;
    event event_;
    realm::error error_;
};

// Adds a message to a conversation in the JSON of REALM_INPUT_MESSAGES, an array that begins as an empty text:
//
//     std::string said;
//     realm::add_message(said, "system", "You are brief.");
//     realm::add_message(said, "user", question);
//     realm::turn turn = session.ask(REALM_INPUT_MESSAGES, said);
//
// `json` is a std::string or what has its empty(), push_back() and pop_back(). Role and content are UTF-8.
template <class String> void add_message(String &json, std::string_view role, std::string_view content) {
    const auto add = [&json](std::string_view text) {
        for (const char c : text) {
            json.push_back(c);
        }
    };
    const auto quote = [&json, &add](std::string_view text) {
        constexpr std::string_view digits = "0123456789abcdef";
        json.push_back('"');
        for (const char c : text) {
            const unsigned byte = static_cast<unsigned char>(c);
            if (byte < 0x20) {
                add("\\u00");
                json.push_back(digits[byte >> 4]);
                json.push_back(digits[byte & 15]);
                continue;
            }
            if (c == '"' || c == '\\') {
                json.push_back('\\');
            }
            json.push_back(c);
        }
        json.push_back('"');
    };
    if (json.empty()) {
        json.push_back('[');
    } else {
        json.pop_back();
        json.push_back(',');
    }
    add("{\"role\":");
    quote(role);
    add(",\"content\":");
    quote(content);
    add("}]");
}

// A conversation. One thread at a time may use it; cancel() is for any.
class session : public detail::handle<realm_session, realm_session_close> {
public:
    using handle::handle;

    // Begins a turn; `kind` is REALM_INPUT_....
    result<void> prompt(std::uint32_t kind, const void *data, std::size_t bytes) noexcept {
        realm::error error;
        return detail::status_of(realm_session_prompt(c(), kind, data, bytes, error.c()), error);
    }
    result<void> prompt(std::uint32_t kind, std::string_view text) noexcept {
        return prompt(kind, text.data(), text.size());
    }
#if defined(__cpp_lib_span)
    // Token ids, verbatim.
    result<void> prompt(std::span<const std::uint32_t> tokens) noexcept {
        return prompt(REALM_INPUT_IDS, tokens.data(), tokens.size_bytes());
    }
#endif
    // A user's message.
    result<void> chat(std::string_view text) noexcept { return prompt(REALM_INPUT_CHAT, text.data(), text.size()); }
    // A whole conversation, as a JSON array of messages: what add_message() writes.
    result<void> messages(std::string_view json) noexcept {
        return prompt(REALM_INPUT_MESSAGES, json.data(), json.size());
    }
    // What the assistant is made to say; the model goes on behind it.
    result<void> reply(std::string_view text) noexcept {
        return prompt(REALM_INPUT_REPLY, text.data(), text.size());
    }
    // Has the guest tell, in a text event, what the last reply says: a message in JSON.
    result<void> parse() noexcept { return prompt(REALM_INPUT_PARSE, nullptr, 0); }

    // Works on to the next token, without limit or for about so many microseconds, and says what came. 0 is no limit: what
    // is left of a frame is given as a duration, of which none is the shortest slice, or by budget_left().
    result<event> poll(std::uint64_t budget_us = REALM_BUDGET_UNLIMITED) noexcept {
        realm::error error;
        event event;
        if (realm_session_poll(c(), budget_us, &event, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return event;
    }

    // The same with a std::chrono duration; one of 0 or less is the shortest slice.
    template <class Rep, class Period> result<event> poll(std::chrono::duration<Rep, Period> budget) noexcept {
        const auto us = std::chrono::duration_cast<std::chrono::microseconds>(budget).count();
        return poll(us > 0 ? static_cast<std::uint64_t>(us) : std::uint64_t(1));
    }

    // A turn to loop over: a user's message, or text to be continued.
    turn ask(std::string_view text) noexcept { return turn(c(), REALM_INPUT_CHAT, text.data(), text.size()); }
    turn complete(std::string_view text) noexcept { return turn(c(), REALM_INPUT_TEXT, text.data(), text.size()); }

    // Any other kind of input that is text: `session.ask(REALM_INPUT_MESSAGES, json)`.
    turn ask(std::uint32_t kind, std::string_view text) noexcept { return turn(c(), kind, text); }

    // From any thread, and from a signal handler.
    void cancel() noexcept { realm_session_cancel(c()); }

    // A NULL value takes the parameter away.
    result<void> set_param(const char *key, const char *value) noexcept {
        realm::error error;
        return detail::status_of(realm_session_set_param(c(), key, value, error.c()), error);
    }
    // Further models of the runtime's store that the guest may use, in place of those before: adapters.
    result<void> set_models(const std::uint32_t *ids, std::size_t count) noexcept {
        realm::error error;
        return detail::status_of(realm_session_set_models(c(), ids, count, error.c()), error);
    }
    result<void> set_models(std::initializer_list<std::uint32_t> ids) noexcept {
        return set_models(ids.begin(), ids.size());
    }
#if defined(__cpp_lib_span)
    result<void> set_models(std::span<const std::uint32_t> ids) noexcept { return set_models(ids.data(), ids.size()); }
#endif
    // `out` is a std::vector<float> or the like.
    template <class Vector> result<void> logits(Vector &out) {
        return detail::fill<float>(out, [this](float *data, std::size_t room, std::size_t *size, realm_error *error) {
            return realm_session_logits(c(), data, room, size, error);
        });
    }
    // The tokens that the model finds most probable behind the last evaluated position, best first, and the logarithms of their
    // probabilities: as many as there is room for in either. Returns how many there are.
    result<std::size_t> top_logprobs(std::int32_t *ids, float *logprobs, std::size_t capacity) noexcept {
        realm::error error;
        std::size_t count = 0;
        if (realm_session_top_logprobs(c(), ids, logprobs, capacity, &count, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return count;
    }
    // As `logits`, of a model that makes embeddings.
    template <class Vector> result<void> embedding(Vector &out) {
        return detail::fill<float>(out, [this](float *data, std::size_t room, std::size_t *size, realm_error *error) {
            return realm_session_embedding(c(), data, room, size, error);
        });
    }
    // The embedding of a text, in one call.
    template <class Vector> result<void> embed(std::string_view text, Vector &out) {
        return detail::fill<float>(out, [this, text](float *data, std::size_t room, std::size_t *size, realm_error *error) {
            return realm_session_embed(c(), REALM_INPUT_TEXT, text.data(), text.size(), data, room, size, error);
        });
    }
    // Tokens in the context.
    result<std::uint32_t> position() const noexcept {
        realm::error error;
        std::uint32_t position = 0;
        if (realm_session_position(c(), &position, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return position;
    }
    // Back to the first so many tokens, between turns.
    result<void> rewind(std::uint32_t position) noexcept {
        realm::error error;
        return detail::status_of(realm_session_rewind(c(), position, error.c()), error);
    }
    // A second session that goes on from here, between turns.
    result<session> fork() noexcept {
        realm::error error;
        realm_session *forked = nullptr;
        if (realm_session_fork(c(), &forked, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return session(forked);
    }
    // An image of what the guest has decided, before the first turn, for guest::load: `f(const void *data, std::size_t bytes)` as for save_to.
    template <class F> result<void> record(F &&write) {
        realm::error error;
        using by_address = detail::callback<std::remove_reference_t<F> &>;
        const realm_write_fn call = [](void *ctx, const void *data, std::size_t bytes) -> std::int32_t {
            return by_address::call(ctx, data, bytes);
        };
        return detail::status_of(realm_session_record(c(), call, by_address::pack(write), error.c()), error);
    }
    // The session's state, between turns, for runtime::load. `out` is a std::vector<std::byte> or the like.
    template <class Bytes> result<void> save(Bytes &out) {
        static_assert(sizeof(*out.data()) == 1, "a state is bytes");
        return detail::fill<std::remove_reference_t<decltype(*out.data())>>(
            out, [this](void *data, std::size_t room, std::size_t *size, realm_error *error) {
                return realm_session_save(c(), data, room, size, error);
            });
    }
    // The same, piece by piece: `f(const void *data, std::size_t bytes)` returns 0 or a negative status, as realm_write_fn
    // does, and is needed for the call only.
    template <class F> result<void> save_to(F &&write) {
        realm::error error;
        using by_address = detail::callback<std::remove_reference_t<F> &>;
        const realm_write_fn call = [](void *ctx, const void *data, std::size_t bytes) -> std::int32_t {
            return by_address::call(ctx, data, bytes);
        };
        return detail::status_of(realm_session_save_to(c(), call, by_address::pack(write), error.c()), error);
    }
    // What the session has cost so far.
    result<realm_session_stats> stats() const noexcept {
        realm_session_stats stats = REALM_SESSION_STATS_INIT;
        const realm_status status = realm_session_get_stats(c(), &stats);
        if (status != REALM_STATUS_OK) {
            return realm::error(status);
        }
        return stats;
    }
};

// What is left of a budget, and at least 1: for poll and poll_many, to which 0 would be no limit.
inline std::uint64_t budget_left(std::uint64_t total_us, std::uint64_t spent_us) noexcept {
    return realm_budget_left(total_us, spent_us);
}

// Works on for several sessions at once; see realm_poll_many for what each array holds. An event may be read where
// its session's error has status 0.
inline result<void> poll_many(realm_session *const *sessions, std::size_t count, std::uint64_t budget_us, event *events,
                              realm_error *errors) noexcept {
    realm::error error;
    return detail::status_of(realm_poll_many(sessions, count, budget_us, events, errors, error.c()), error);
}

#if defined(__cpp_lib_span)
// All three of one length, or the call fails and nothing is done.
inline result<void> poll_many(std::span<realm_session *const> sessions, std::uint64_t budget_us,
                              std::span<event> events, std::span<realm_error> errors) noexcept {
    if (events.size() != sessions.size() || errors.size() != sessions.size()) {
        return error(REALM_STATUS_INVALID_ARGUMENT);
    }
    return poll_many(sessions.data(), sessions.size(), budget_us, events.data(), errors.data());
}
#endif

// ---- Runtimes -----------------------------------------------------------------------------------

// A platform, a store and backends. Its sessions may outlive it; what the platform's and the backends' pointers and the
// kernels' callables refer to must outlive both.
class runtime : public detail::handle<realm_runtime, realm_runtime_destroy> {
public:
    using handle::handle;

    // One with these options, as in C.
    static result<runtime> create(const realm_runtime_options &options) noexcept {
        realm::error error;
        realm_runtime *c = nullptr;
        if (realm_runtime_create(&options, &c, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return runtime(c);
    }
    // NULL: no clock and one thread; the process-wide store.
    static result<runtime> create(const realm_platform *platform = nullptr, realm_store *store = nullptr) noexcept {
        realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
        options.platform = platform;
        options.store = store;
        return create(options);
    }

    // Not while another thread uses the runtime, as add_kernel. The table is copied.
    result<void> add_backend(const realm_backend &backend) noexcept {
        realm::error error;
        return detail::status_of(realm_runtime_add_backend(c(), &backend, error.c()), error);
    }
    // A kernel `std::int32_t f(const realm_kernel_args &)`, which returns 0 or a negative status and may run on several
    // threads at once. How it is kept: see on_release.
    template <class F> result<void> add_kernel(std::uint32_t op, std::uint32_t type, F &&f) noexcept {
        realm::error error;
        const realm_kernel_fn call = [](void *ctx, const realm_kernel_args *args) -> std::int32_t {
            return detail::callback<F>::call(ctx, *args);
        };
        void *const ctx = detail::callback<F>::pack(f);
        return detail::status_of(realm_runtime_add_kernel(c(), op, type, call, ctx, error.c()), error);
    }
    // How many backends it has; 0 if it is empty.
    std::size_t backend_count() const noexcept { return realm_runtime_backend_count(c()); }
    // The name of a backend, the preferred first; NULL past the last.
    const char *backend_name(std::size_t index) const noexcept { return realm_runtime_backend_name(c(), index); }

    // Opens a session with a model of the runtime's store.
    result<session> open(std::uint32_t model_id,
                         const realm_session_options &options = REALM_SESSION_OPTIONS_INIT) noexcept {
        realm::error error;
        realm_session *opened = nullptr;
        if (realm_session_open(c(), model_id, &options, &opened, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return session(opened);
    }
    result<session> open(const model &of, const realm_session_options &options = REALM_SESSION_OPTIONS_INIT) noexcept {
        return open(of.id(), options);
    }
    // Opens a session in a state that session::save has given.
    result<session> load(const model &of, const void *state, std::size_t bytes,
                         const realm_session_options &options = REALM_SESSION_OPTIONS_INIT) noexcept {
        realm::error error;
        realm_session *opened = nullptr;
        if (realm_session_load(c(), of.id(), &options, state, bytes, &opened, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return session(opened);
    }
    // The same, piece by piece: `f(void *data, std::size_t bytes)` fills all of it and returns 0 or a negative status, as
    // realm_read_fn does, and is needed for the call only.
    template <class F>
    result<session> load_from(const model &of, F &&read,
                              const realm_session_options &options = REALM_SESSION_OPTIONS_INIT) {
        realm::error error;
        realm_session *opened = nullptr;
        using by_address = detail::callback<std::remove_reference_t<F> &>;
        const realm_read_fn call = [](void *ctx, void *data, std::size_t bytes) -> std::int32_t {
            return by_address::call(ctx, data, bytes);
        };
        if (realm_session_load_from(c(), of.id(), &options, call, by_address::pack(read), &opened, error.c()) !=
            REALM_STATUS_OK) {
            return error;
        }
        return session(opened);
    }
    // What a session will hold with so many tokens, before it is opened.
    result<realm_memory_plan> plan(const model &of, std::uint32_t positions = UINT32_MAX,
                                   const realm_session_options &options = REALM_SESSION_OPTIONS_INIT) noexcept {
        realm::error error;
        realm_memory_plan plan = REALM_MEMORY_PLAN_INIT;
        if (realm_plan(c(), of.id(), &options, positions, &plan, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return plan;
    }
};

// ---- The library and the processor --------------------------------------------------------------

// Of the library that is running: its release, and its interface as `major << 16 | minor`.
inline const char *version() noexcept { return realm_version(); }
inline std::uint32_t abi_version() noexcept { return realm_abi_version(); }

// The level of instructions that the backend "cpu" uses; NULL in a library without it.
inline const char *cpu_isa() noexcept { return realm_cpu_isa(); }
// Another one, for the whole process; an empty name: the best of this machine.
inline result<void> force_cpu_isa(std::string_view name) noexcept {
    realm::error error;
    return detail::status_of(realm_cpu_force_isa(name.data(), name.size(), error.c()), error);
}

} // namespace realm

#endif // REALM_HPP
