// realm_wasm.hpp - modules of your own (realm_wasm_* of realm.h) with owners, results and C++ types.
//
// A part of realm.hpp, whose rules hold here too; programs that use it include it by name. What modules may do, limits, fuel
// and the reasons for failing are described in realm.h.
//
//     auto log_sum = [&](std::int32_t a, std::int32_t b) -> std::int32_t { return total += a + b; };
//     const realm_wasm_import imports[] = {realm::wasm::link("env", "sum", log_sum)};
//     realm::result module = realm::wasm::module::load(bytes, size);
//     realm::result instance = module->instantiate(imports);
//     realm::result add = instance->find<std::int32_t(std::int32_t, std::int32_t)>("add");
//     realm::result sum = (*add)(40, 2); // 42, or why not: a trap, no fuel left, a host function's status
//
// Numbers are std::int32_t or std::uint32_t (`i` in signatures), std::int64_t or std::uint64_t (`I`), float (`f`), double (`F`).
#ifndef REALM_WASM_HPP
#define REALM_WASM_HPP

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "realm.hpp"

namespace realm {
namespace wasm {

// ---- Values and signatures ----------------------------------------------------------------------

// The numbers that WebAssembly and C++ share: how each is called, and where it is in a value.
template <class T> struct number;
// Each has the type's REALM_WASM_... and its letter in signatures, and goes into a value and comes out of one.
template <> struct number<std::int32_t> {
    static constexpr std::uint32_t type = REALM_WASM_I32;
    static constexpr char letter = 'i';
    static void put(realm_wasm_value &to, std::int32_t from) noexcept { to.of.i32 = from; }
    static std::int32_t get(const realm_wasm_value &from) noexcept { return from.of.i32; }
};
template <> struct number<std::uint32_t> {
    static constexpr std::uint32_t type = REALM_WASM_I32;
    static constexpr char letter = 'i';
    static void put(realm_wasm_value &to, std::uint32_t from) noexcept { to.of.i32 = static_cast<std::int32_t>(from); }
    static std::uint32_t get(const realm_wasm_value &from) noexcept { return static_cast<std::uint32_t>(from.of.i32); }
};
template <> struct number<std::int64_t> {
    static constexpr std::uint32_t type = REALM_WASM_I64;
    static constexpr char letter = 'I';
    static void put(realm_wasm_value &to, std::int64_t from) noexcept { to.of.i64 = from; }
    static std::int64_t get(const realm_wasm_value &from) noexcept { return from.of.i64; }
};
template <> struct number<std::uint64_t> {
    static constexpr std::uint32_t type = REALM_WASM_I64;
    static constexpr char letter = 'I';
    static void put(realm_wasm_value &to, std::uint64_t from) noexcept { to.of.i64 = static_cast<std::int64_t>(from); }
    static std::uint64_t get(const realm_wasm_value &from) noexcept { return static_cast<std::uint64_t>(from.of.i64); }
};
template <> struct number<float> {
    static constexpr std::uint32_t type = REALM_WASM_F32;
    static constexpr char letter = 'f';
    static void put(realm_wasm_value &to, float from) noexcept { to.of.f32 = from; }
    static float get(const realm_wasm_value &from) noexcept { return from.of.f32; }
};
template <> struct number<double> {
    static constexpr std::uint32_t type = REALM_WASM_F64;
    static constexpr char letter = 'F';
    static void put(realm_wasm_value &to, double from) noexcept { to.of.f64 = from; }
    static double get(const realm_wasm_value &from) noexcept { return from.of.f64; }
};

// A number as C wants it.
template <class T> realm_wasm_value value(T from) noexcept {
    realm_wasm_value to = {};
    to.type = number<T>::type;
    number<T>::put(to, from);
    return to;
}

namespace detail {

template <class T> constexpr char letter_of() noexcept {
    if constexpr (std::is_void_v<T>) {
        return 'v';
    } else {
        return number<T>::letter;
    }
}

// The signature of a function as C writes it, `i(iI)`.
template <class F> struct signature;
template <class R, class... Args> struct signature<R(Args...)> {
    static_assert(sizeof...(Args) <= REALM_WASM_MAX_VALUES, "more parameters than REALM_WASM_MAX_VALUES");
    static constexpr char text[] = {letter_of<R>(), '(', letter_of<Args>()..., ')', '\0'};
};

// What a function of the host's gives back: its number, or that with the power to fail.
template <class R> struct answer {
    using plain = R;
};
template <class R> struct answer<realm::result<R>> {
    using plain = R;
};

} // namespace detail

// ---- Instances ----------------------------------------------------------------------------------

template <class F> class function;

// What can be done with an instance, whether it is owned (wasm::instance) or the one that calls a function of the host's
// (wasm::caller, to which what finds and calls functions answers REALM_STATUS_STATE).
template <class Self> class access {
public:
    // An exported function of this type, checked now: `find<std::int32_t(float)>("name")`; void for no result. Those with
    // several results are called as in C.
    template <class F> result<function<F>> find(std::string_view name) const noexcept;
    // Its number, for the two below.
    result<std::uint32_t> find_number(std::string_view name) const noexcept {
        realm::error error;
        std::uint32_t number = 0;
        if (realm_wasm_find(self(), name.data(), name.size(), &number, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return number;
    }
    // The signature of the function with this number, as in C. `out` is a std::string or the like.
    template <class String> result<void> signature(std::uint32_t function, String &out) const {
        return realm::detail::fill<char>(out, [&](char *data, std::size_t room, std::size_t *size, realm_error *error) {
            return realm_wasm_signature(self(), function, data, room, size, error);
        });
    }
    // Any function, with arrays of values.
    result<void> call(std::uint32_t function, const realm_wasm_value *args, std::size_t arg_count,
                      realm_wasm_value *results, std::size_t result_count) const noexcept {
        realm::error error;
        return realm::detail::status_of(
            realm_wasm_call(self(), function, args, arg_count, results, result_count, error.c()), error);
    }

    // An exported global, which must be of that type.
    template <class T> result<T> global(std::string_view name) const noexcept {
        realm::error error;
        realm_wasm_value got = {};
        if (realm_wasm_global_get(self(), name.data(), name.size(), &got, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        if (got.type != number<T>::type) {
            return realm::detail::failure(REALM_STATUS_INVALID_ARGUMENT, {"global '", name, "' is of another type"});
        }
        return number<T>::get(got);
    }
    // Writes one, which must be of that type and not constant.
    template <class T> result<void> set_global(std::string_view name, T to) const noexcept {
        realm::error error;
        const realm_wasm_value given = wasm::value(to);
        return realm::detail::status_of(
            realm_wasm_global_set(self(), name.data(), name.size(), &given, error.c()), error);
    }

    // The size of its memory in bytes. Memory is copied from and to: it may move when it grows, so nothing points into it.
    result<std::uint64_t> memory_size() const noexcept {
        realm::error error;
        std::uint64_t bytes = 0;
        if (realm_wasm_memory_size(self(), &bytes, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return bytes;
    }
    // Copies bytes out of its memory, and into it: all of them or none.
    result<void> read(std::uint64_t offset, void *to, std::size_t bytes) const noexcept {
        realm::error error;
        return realm::detail::status_of(realm_wasm_memory_read(self(), offset, to, bytes, error.c()), error);
    }
    result<void> write(std::uint64_t offset, const void *from, std::size_t bytes) const noexcept {
        realm::error error;
        return realm::detail::status_of(realm_wasm_memory_write(self(), offset, from, bytes, error.c()), error);
    }
    // A number or struct as its bytes lie there, little-endian: the machine's own order nearly everywhere.
    template <class T> result<T> read(std::uint64_t offset) const noexcept {
        static_assert(std::is_trivially_copyable_v<T>, "only what is its bytes can be read");
        T to = {};
        const result<void> done = read(offset, &to, sizeof to);
        if (!done) {
            return done.error();
        }
        return to;
    }
    template <class T> result<void> write(std::uint64_t offset, const T &from) const noexcept {
        static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>, "only what is its bytes can be written");
        return write(offset, std::addressof(from), sizeof from);
    }
    // Makes its memory larger, by pages of 64 KiB; gives the size in bytes before.
    result<std::uint64_t> grow(std::uint64_t pages) const noexcept {
        realm::error error;
        std::uint64_t before = 0;
        if (realm_wasm_memory_grow(self(), pages, &before, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return before;
    }

    // The fuel that is left, for this and all instances linked with it.
    result<std::uint64_t> fuel() const noexcept {
        realm::error error;
        std::uint64_t left = 0;
        if (realm_wasm_fuel(self(), &left, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return left;
    }
    // Gives them more.
    result<void> add_fuel(std::uint64_t more) const noexcept {
        realm::error error;
        return realm::detail::status_of(realm_wasm_add_fuel(self(), more, error.c()), error);
    }

private:
    friend Self;
    access() noexcept = default;
    realm_wasm_instance *self() const noexcept { return static_cast<const Self &>(*this).c(); }
};

// The instance that calls a function of the host's, valid until that returns.
class caller : public access<caller> {
public:
    // Stands for what a realm_wasm_host_fn is given.
    explicit caller(realm_wasm_instance *c) noexcept : c_(c) {}
    // For C functions. Valid as long as the caller is.
    realm_wasm_instance *c() const noexcept { return c_; }

private:
    realm_wasm_instance *c_;
};

// An instance of a module: its memory, globals and tables.
class instance : public realm::detail::handle<realm_wasm_instance, realm_wasm_instance_destroy>, public access<instance> {
public:
    using handle::handle;
};

// An exported function, to be called like one. The instance must outlive it; it may be moved.
template <class R, class... Args> class function<R(Args...)> {
public:
    // None: calls of it fail with REALM_STATUS_INVALID_ARGUMENT.
    function() noexcept = default;
    // The function of that number, unchecked; find() checks.
    function(realm_wasm_instance *of, std::uint32_t number) noexcept : of_(of), number_(number) {}

    // What it returns, or why it did not: see realm_wasm_call.
    result<R> operator()(Args... args) const noexcept {
        realm::error error;
        // One more: an array of none is no array.
        const realm_wasm_value given[] = {wasm::value(args)..., realm_wasm_value()};
        realm_wasm_value got = {};
        const std::size_t results = std::is_void_v<R> ? 0 : 1;
        if (realm_wasm_call(of_, number_, given, sizeof...(Args), &got, results, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        if constexpr (std::is_void_v<R>) {
            return {};
        } else {
            return number<R>::get(got);
        }
    }
    // What realm_wasm_find gave.
    std::uint32_t number_in_c() const noexcept { return number_; }

private:
    realm_wasm_instance *of_ = nullptr;
    std::uint32_t number_ = 0;
};

template <class Self>
template <class F>
result<function<F>> access<Self>::find(std::string_view name) const noexcept {
    const result<std::uint32_t> found = find_number(name);
    if (!found) {
        return found.error();
    }
    char is[2 * REALM_WASM_MAX_VALUES + 3] = {};
    std::size_t bytes = 0;
    realm::error error;
    const std::string_view wanted = detail::signature<F>::text;
    const realm_status status = realm_wasm_signature(self(), *found, is, sizeof is - 1, &bytes, error.c());
    if (status != REALM_STATUS_OK) {
        return error;
    }
    if (wanted != std::string_view(is, bytes)) {
        return realm::detail::failure(REALM_STATUS_INVALID_ARGUMENT,
                                      {"'", name, "' is ", std::string_view(is, bytes), ", not ", wanted});
    }
    return function<F>(self(), *found);
}

// ---- Functions of the host's --------------------------------------------------------------------

namespace detail {

// A callable as the function that C calls: with or without the instance that calls as its first argument.
template <class F, class R, class... Args> struct host {
    using plain = typename answer<R>::plain;
    static constexpr const char *text = signature<plain(Args...)>::text;

    template <bool WithCaller, std::size_t... I>
    static std::int32_t run(void *ctx, realm_wasm_instance *from, const realm_wasm_value *args,
                            realm_wasm_value *results, std::index_sequence<I...>) noexcept {
        (void)args, (void)results;
        const auto call = [&]() -> R {
            if constexpr (WithCaller) {
                return realm::detail::callback<F>::call(ctx, caller(from), number<Args>::get(args[I])...);
            } else {
                (void)from;
                return realm::detail::callback<F>::call(ctx, number<Args>::get(args[I])...);
            }
        };
        if constexpr (std::is_void_v<R>) {
            call();
        } else if constexpr (std::is_same_v<R, plain>) {
            number<R>::put(results[0], call());
        } else {
            const R outcome = call();
            if (!outcome) {
                return outcome.status();
            }
            if constexpr (!std::is_void_v<plain>) {
                number<plain>::put(results[0], *outcome);
            }
        }
        return 0;
    }
};

template <class F, bool WithCaller, class R, class... Args> realm_wasm_import make_import() noexcept {
    using entry = host<F, R, Args...>;
    realm_wasm_import import = {};
    import.signature = entry::text;
    import.call = [](void *ctx, realm_wasm_instance *from, const realm_wasm_value *args,
                     realm_wasm_value *results) -> std::int32_t {
        return entry::template run<WithCaller>(ctx, from, args, results, std::index_sequence_for<Args...>());
    };
    return import;
}

// What operator() of a callable takes and gives; one that is a template or overloaded has no one answer.
template <class F, class M> struct of_operator;
template <class F, class C, class R, class... Args> struct of_operator<F, R (C::*)(Args...)> {
    static realm_wasm_import make() noexcept { return make_import<F, false, R, std::decay_t<Args>...>(); }
};
template <class F, class C, class R, class... Args> struct of_operator<F, R (C::*)(caller, Args...)> {
    static realm_wasm_import make() noexcept { return make_import<F, true, R, std::decay_t<Args>...>(); }
};
template <class F, class C, class R, class... Args>
struct of_operator<F, R (C::*)(Args...) const> : of_operator<F, R (C::*)(Args...)> {};
template <class F, class C, class R, class... Args>
struct of_operator<F, R (C::*)(Args...) noexcept> : of_operator<F, R (C::*)(Args...)> {};
template <class F, class C, class R, class... Args>
struct of_operator<F, R (C::*)(Args...) const noexcept> : of_operator<F, R (C::*)(Args...)> {};

} // namespace detail

// A callable for an import. Its signature is that of its operator(): numbers, before them a wasm::caller if it wants one; it
// returns a number, void, or a realm::result of these, whose failure ends the call with its status. How it is kept: see
// on_release of realm.hpp; nothing is allocated. A named one must live as long as the instance and those linked with it.
template <class F> realm_wasm_import link(const char *module, const char *name, F &&f) noexcept {
    using plain = std::remove_reference_t<F>;
    realm_wasm_import made = detail::of_operator<F, decltype(&std::remove_const_t<plain>::operator())>::make();
    made.module = module;
    made.name = name;
    made.ctx = realm::detail::callback<F>::pack(f);
    return made;
}

// ---- Modules ------------------------------------------------------------------------------------

// A validated and translated module; its instances may outlive it.
class module : public realm::detail::handle<realm_wasm_module, realm_wasm_module_unload> {
public:
    using handle::handle;
    // Validates and translates a module, whose bytes are not needed afterwards.
    static result<module> load(const void *wasm, std::size_t bytes,
                               const realm_wasm_module_options &options = REALM_WASM_MODULE_OPTIONS_INIT) noexcept {
        realm::error error;
        realm_wasm_module *c = nullptr;
        if (realm_wasm_module_load(wasm, bytes, &options, &c, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return module(c);
    }
#if defined(__cpp_lib_span)
    static result<module> load(std::span<const std::byte> wasm,
                               const realm_wasm_module_options &options = REALM_WASM_MODULE_OPTIONS_INIT) noexcept {
        return load(wasm.data(), wasm.size(), options);
    }
#endif

    // With imports, peers, fuel and limits as in C.
    result<instance> instantiate(const realm_wasm_options &options = REALM_WASM_OPTIONS_INIT) const noexcept {
        realm::error error;
        realm_wasm_instance *made = nullptr;
        if (realm_wasm_instance_create(c(), &options, &made, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return instance(made);
    }
    // The same with an array of imports, which `options` need not name; the array is not needed afterwards.
    template <std::size_t N>
    result<instance> instantiate(const realm_wasm_import (&imports)[N],
                                 realm_wasm_options options = REALM_WASM_OPTIONS_INIT) const noexcept {
        options.imports = imports;
        options.import_count = N;
        return instantiate(options);
    }
};

} // namespace wasm
} // namespace realm

#endif // REALM_WASM_HPP
