// A small stand-in for Qubic's contract interface (QPI), written anew after its public documentation: as much of it as QubixEscrow.h uses, to compile and
// test that contract on any machine. It is not the network's own code; what it does not do is said in docs/qubic.md.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>

namespace QPI
{
typedef uint8_t uint8;
typedef uint16_t uint16;
typedef uint32_t uint32;
typedef uint64_t uint64;
typedef int64_t sint64;

constexpr sint64 NULL_INDEX = -1;
constexpr sint64 INVALID_AMOUNT = INT64_MIN;
/// What one transfer or call may carry.
constexpr sint64 MAX_AMOUNT = 1000000000000000;

struct id
{
    uint64 word0 = 0, word1 = 0, word2 = 0, word3 = 0;
    bool operator==(const id& other) const = default;
    bool operator<(const id& other) const { return std::memcmp(this, &other, sizeof(id)) < 0; }
};

constexpr id NULL_ID{};

/// Open addressing by the first word, as large as said; removed places are free again after `cleanupIfNeeded`.
template <typename Key, typename Value, uint64 Capacity>
class HashMap
{
    static_assert((Capacity & (Capacity - 1)) == 0, "a capacity is a power of two");
    struct Place
    {
        Key key;
        Value value;
        uint8 use; // 0 free, 1 used, 2 removed
    };
    Place places[Capacity];
    uint64 used, removed;

    sint64 find(const Key& key) const
    {
        for (uint64 n = 0; n < Capacity; n++)
        {
            uint64 at = (key.word0 + n) & (Capacity - 1);
            if (places[at].use == 0) return NULL_INDEX;
            if (places[at].use == 1 && places[at].key == key) return static_cast<sint64>(at);
        }
        return NULL_INDEX;
    }

public:
    uint64 population() const { return used; }
    bool contains(const Key& key) const { return find(key) != NULL_INDEX; }
    bool get(const Key& key, Value& value) const
    {
        sint64 at = find(key);
        if (at == NULL_INDEX) return false;
        value = places[at].value;
        return true;
    }
    sint64 set(const Key& key, const Value& value)
    {
        sint64 at = find(key);
        for (uint64 n = 0; at == NULL_INDEX && n < Capacity; n++)
        {
            uint64 candidate = (key.word0 + n) & (Capacity - 1);
            if (places[candidate].use == 1) continue;
            if (places[candidate].use == 2) removed--;
            places[candidate].use = 1;
            places[candidate].key = key;
            used++;
            at = static_cast<sint64>(candidate);
        }
        if (at != NULL_INDEX) places[at].value = value;
        return at;
    }
    bool isEmptySlot(sint64 index) const { return places[index].use != 1; }
    Key key(sint64 index) const { return places[index].key; }
    Value value(sint64 index) const { return places[index].value; }
    void removeByIndex(sint64 index)
    {
        if (isEmptySlot(index)) return;
        places[index].use = 2;
        used--;
        removed++;
    }
    void removeByKey(const Key& key)
    {
        sint64 at = find(key);
        if (at != NULL_INDEX) removeByIndex(at);
    }
    void cleanupIfNeeded()
    {
        if (removed * 2 < Capacity) return;
        auto old = std::make_unique<HashMap>(*this);
        std::memset(static_cast<void*>(this), 0, sizeof(*this));
        for (uint64 at = 0; at < Capacity; at++)
            if (old->places[at].use == 1) set(old->places[at].key, old->places[at].value);
    }
};

struct ContractBase
{
};

/// The world a call sees. Balances belong to the test's world, not to the contract.
struct Context
{
    std::map<id, sint64> balances;
    id self{UINT64_MAX, 0, 0, 0};
    id caller;
    sint64 reward = 0;
    uint32 nowTick = 0;
    uint16 nowEpoch = 0;

    id invocator() const { return caller; }
    sint64 invocationReward() const { return reward; }
    uint32 tick() const { return nowTick; }
    uint16 epoch() const { return nowEpoch; }
    /// Left to the contract after it, or negative where it has too little.
    sint64 transfer(const id& to, sint64 amount)
    {
        if (amount < 0 || amount > MAX_AMOUNT) return INVALID_AMOUNT;
        sint64& own = balances[self];
        if (own < amount) return own - amount;
        own -= amount;
        balances[to] += amount;
        return own;
    }
};

template <typename T>
T zeroed()
{
    T value;
    std::memset(static_cast<void*>(&value), 0, sizeof(T));
    return value;
}
struct NoLocals
{
};
} // namespace QPI

// Each entry is a static function of the state, the context, its input, its output and its zeroed locals: what it may touch is all that it is given.
#define QPI_BODY(NAME, STATE, LOCALS)                                                                                                    \
    template <typename State>                                                                                                            \
    static void NAME##_body(STATE& state, QPI::Context& qpi, const NAME##_input& input, NAME##_output& output, LOCALS& locals)
#define QPI_ENTRY(NAME, STATE, LOCALS)                                                                                                   \
    template <typename State>                                                                                                            \
    static void NAME(STATE& state, QPI::Context& qpi, const NAME##_input& input, NAME##_output& output)                                  \
    {                                                                                                                                    \
        auto locals = QPI::zeroed<LOCALS>();                                                                                             \
        NAME##_body<State>(state, qpi, input, output, locals);                                                                           \
    }                                                                                                                                    \
    QPI_BODY(NAME, STATE, LOCALS)
#define PUBLIC_PROCEDURE(NAME) QPI_ENTRY(NAME, State, QPI::NoLocals)
#define PUBLIC_PROCEDURE_WITH_LOCALS(NAME) QPI_ENTRY(NAME, State, NAME##_locals)
#define PRIVATE_PROCEDURE(NAME) QPI_ENTRY(NAME, State, QPI::NoLocals)
#define PRIVATE_PROCEDURE_WITH_LOCALS(NAME) QPI_ENTRY(NAME, State, NAME##_locals)
// A function sees the state and cannot change it.
#define PUBLIC_FUNCTION(NAME) QPI_ENTRY(NAME, const State, QPI::NoLocals)
#define CALL(NAME, INPUT, OUTPUT) NAME<State>(state, qpi, INPUT, OUTPUT)
#define REGISTER_USER_FUNCTION(NAME, NUMBER) visitor.template function<&Self::template NAME<Self>>(NUMBER)
#define REGISTER_USER_PROCEDURE(NAME, NUMBER) visitor.template procedure<&Self::template NAME<Self>>(NUMBER)
#define REGISTER_USER_FUNCTIONS_AND_PROCEDURES()                                                                                         \
    template <typename Self, typename Visitor>                                                                                           \
    static void visit(Visitor& visitor)
#define INITIALIZE()                                                                                                                     \
    template <typename State>                                                                                                            \
    static void initialize(State& state)
#define END_EPOCH_WITH_LOCALS()                                                                                                          \
    template <typename State>                                                                                                            \
    static void endEpoch(State& state, QPI::Context& qpi)                                                                                \
    {                                                                                                                                    \
        auto locals = QPI::zeroed<END_EPOCH_locals>();                                                                                   \
        endEpochBody<State>(state, qpi, locals);                                                                                         \
    }                                                                                                                                    \
    template <typename State>                                                                                                            \
    static void endEpochBody(State& state, QPI::Context& qpi, END_EPOCH_locals& locals)
