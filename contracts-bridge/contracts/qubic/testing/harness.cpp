// Drives a contract, or one of several variants of it, by its number: reads commands, one a line, and answers each with a line of JSON. Ids are hex, of 64 digits.
//   fund ID AMOUNT | tick N | epoch N | end-epoch
//   call NUMBER CALLER REWARD INPUT      the input's bytes in hex
//   ask NUMBER INPUT                     answers the output's bytes in hex
//   balance ID
#include "qpi.h"
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

constexpr QPI::id QUBIX_ADMIN{1, 0, 0, 0};

using Bytes = std::vector<uint8_t>;
template <typename Contract>
struct Program
{
    std::unique_ptr<Contract, decltype(&std::free)> state{nullptr, &std::free};
    QPI::Context world;
    std::map<int, std::function<void(const Bytes&)>> procedures;
    std::map<int, std::function<Bytes(const Bytes&)>> functions;

    template <auto Entry>
    void procedure(int number)
    {
        procedures[number] = [this](const Bytes& bytes) { run<Entry>(bytes); };
    }
    template <auto Entry>
    void function(int number)
    {
        functions[number] = [this](const Bytes& bytes) { return run<Entry>(bytes); };
    }
    template <auto Entry>
    Bytes run(const Bytes& bytes)
    {
        return call(Entry, bytes);
    }
    template <typename State, typename Input, typename Output>
    Bytes call(void (*entry)(State&, QPI::Context&, const Input&, Output&), const Bytes& bytes)
    {
        // Shorter inputs are filled up by zeros, longer ones are cut: as the network does it.
        auto input = QPI::zeroed<Input>();
        std::memcpy(static_cast<void*>(&input), bytes.data(), std::min(bytes.size(), sizeof(Input)));
        auto output = QPI::zeroed<Output>();
        entry(*state, world, input, output);
        Bytes out(sizeof(Output));
        std::memcpy(out.data(), &output, sizeof(Output));
        return out;
    }
};

static Bytes bytesOf(const std::string& hex)
{
    Bytes out;
    for (size_t at = 0; at + 1 < hex.size(); at += 2) out.push_back(static_cast<uint8_t>(std::stoi(hex.substr(at, 2), nullptr, 16)));
    return out;
}
static QPI::id idOf(const std::string& hex)
{
    auto out = QPI::zeroed<QPI::id>();
    Bytes bytes = bytesOf(hex);
    if (bytes.size() != sizeof(out)) throw std::runtime_error("an id has 32 bytes");
    std::memcpy(static_cast<void*>(&out), bytes.data(), sizeof(out));
    return out;
}

template <typename Contract>
void drive()
{
    Program<Contract> program;
    program.state.reset(static_cast<Contract*>(std::calloc(1, sizeof(Contract))));
    Contract::initialize(*program.state);
    Contract::template visit<Contract>(program);
    QPI::Context& world = program.world;
    std::string line;
    while (std::getline(std::cin, line))
    {
        std::istringstream words(line);
        std::string verb, a, b;
        words >> verb;
        if (verb == "fund")
        {
            QPI::sint64 amount;
            words >> a >> amount;
            world.balances[idOf(a)] += amount;
            std::cout << "{}" << std::endl;
        }
        else if (verb == "tick")
        {
            words >> world.nowTick;
            std::cout << "{}" << std::endl;
        }
        else if (verb == "epoch")
        {
            words >> world.nowEpoch;
            std::cout << "{}" << std::endl;
        }
        else if (verb == "end-epoch")
        {
            Contract::endEpoch(*program.state, world);
            world.nowEpoch++;
            std::cout << "{}" << std::endl;
        }
        else if (verb == "call")
        {
            int number;
            QPI::sint64 reward;
            words >> number >> a >> reward >> b;
            world.caller = idOf(a);
            // What a caller does not have does not arrive, and nothing is called.
            bool has = reward >= 0 && world.balances[world.caller] >= reward;
            if (has)
            {
                world.balances[world.caller] -= reward;
                world.balances[world.self] += reward;
                world.reward = reward;
                program.procedures.at(number)(bytesOf(b));
            }
            std::cout << "{\"called\":" << (has ? "true" : "false") << "}" << std::endl;
        }
        else if (verb == "ask")
        {
            int number;
            words >> number >> b;
            std::cout << "{\"output\":\"";
            for (uint8_t byte : program.functions.at(number)(bytesOf(b)))
            {
                static const char* digits = "0123456789abcdef";
                std::cout << digits[byte >> 4] << digits[byte & 15];
            }
            std::cout << "\"}" << std::endl;
        }
        else if (verb == "balance")
        {
            words >> a;
            QPI::id whose = a == "self" ? world.self : idOf(a);
            std::cout << "{\"balance\":\"" << world.balances[whose] << "\"}" << std::endl;
        }
        else throw std::runtime_error("unknown command " + verb);
    }
}

// Each variant in a namespace of its own, and `VARIANTS`: what drives each.
#include QUBIX_VARIANTS

int main(int count, char** words)
{
    VARIANTS.at(count > 1 ? std::stoul(words[1]) : 0)();
}
