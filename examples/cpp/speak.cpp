// Speaks with an exported model of v1 to v2ProPlus: phoneme ids in, a wav file out. docs/export.md tells how to build it.
//
// speak MODEL VOICE TEXT.json OUT.wav [--seed N] [--speed X] [--threads N] [--top-k N] [--top-p X] [--temperature X]
//       [--repetition-penalty X] [--uniforms FILE] [--noise FILE]
//
// TEXT.json is what `sovits-service read TEXT --ids` prints. Random numbers come from a generator of its own; to speak as
// the service does with a seed, give its numbers as files of float32: one uniform for each token, and (frames, channels)
// of noise.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "onnxruntime.hpp"

using nlohmann::json;
using ort::Input;
using ort::Session;
using ort::Tensor;

namespace {

constexpr int64_t kBertWidth = 1024;

struct Options {
  std::map<std::string, double> numbers = {{"seed", 0},   {"speed", 1},       {"threads", 1},             {"top-k", 15},
                                           {"top-p", 1},  {"temperature", 1}, {"repetition-penalty", 1.35}};
  std::map<std::string, std::string> files = {{"uniforms", ""}, {"noise", ""}};
  double operator[](const std::string& name) const { return numbers.at(name); }
};

json read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read");
  return json::parse(file);
}

// Random numbers from a file where one is given, else from the generator.
class Numbers {
 public:
  Numbers(const std::string& path, uint64_t seed) : generator_(seed), has_file_(!path.empty()) {
    if (!has_file_) return;
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
    kept_.resize(bytes.size() / sizeof(float));
    std::copy_n(bytes.data(), kept_.size() * sizeof(float), reinterpret_cast<char*>(kept_.data()));
  }
  float uniform() { return has_file_ ? next() : std::uniform_real_distribution<float>(0, 1)(generator_); }
  float normal() { return has_file_ ? next() : normal_(generator_); }

 private:
  float next() {
    if (used_ == kept_.size()) throw std::runtime_error("the file of random numbers is too short");
    return kept_[used_++];
  }
  std::mt19937_64 generator_;
  std::normal_distribution<float> normal_;
  bool has_file_;
  std::vector<float> kept_;
  size_t used_ = 0;
};

// The letters of a UTF-8 text.
std::vector<std::string> letters(const std::string& text) {
  std::vector<std::string> found;
  for (const char byte : text) {
    const bool continues = (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
    if (continues && !found.empty()) {
      found.back() += byte;
    } else {
      found.emplace_back(1, byte);
    }
  }
  return found;
}

std::vector<int64_t> phonemes(const json& runs) {
  std::vector<int64_t> ids;
  for (const json& run : runs) {
    for (const json& id : run["phoneme_ids"]) ids.push_back(id);
  }
  return ids;
}

class Speaker {
 public:
  Speaker(const std::string& folder, const std::string& voice, Options options)
      : options_(std::move(options)),
        config_(read_json(folder + "/config.json")),
        voice_(read_json(folder + "/voices/" + voice + ".json")),
        uniforms_(options_.files.at("uniforms"), static_cast<uint64_t>(options_["seed"])),
        noise_(options_.files.at("noise"), static_cast<uint64_t>(options_["seed"]) + 1),
        style_(voice_["style_embedding"].get<std::vector<float>>()),
        prompt_(voice_["prompt_tokens"].get<std::vector<int64_t>>()) {
    if (config_.contains("cfm")) throw std::runtime_error("this example speaks v1 to v2ProPlus, not v3 and v4");
    for (const char* name : {"gpt_prefill", "gpt_step", "sovits", "vocoder", "bert"}) {
      const std::string path = folder + "/" + name + ".onnx";
      if (name == std::string("bert") && !std::ifstream(path)) continue;
      sessions_.emplace(name, Session(path, static_cast<int>(options_["threads"])));
    }
    if (sessions_.count("bert")) words_ = read_json(folder + "/tokenizer.json")["model"]["vocab"];
  }

  int sample_rate_hz() const { return config_["vocoder"]["sample_rate_hz"]; }

  // The samples of one fragment.
  std::vector<float> speak(const json& runs) {
    std::vector<int64_t> tokens = draw_tokens(runs), ids = phonemes(runs);
    const double speed = options_["speed"], per_token = config_["frames_per_token"]["latent_frames"];
    const int64_t n_tokens = tokens.size(), channels = config_["noise_channels"];
    const int64_t frames = static_cast<int64_t>(per_token * n_tokens / speed) + (speed != 1);
    std::vector<float> noise(channels * frames);
    for (int64_t frame = 0; frame < frames; ++frame) {
      for (int64_t channel = 0; channel < channels; ++channel) noise[channel * frames + frame] = noise_.normal();
    }
    const Tensor semantic(tokens, {1, n_tokens}), phoneme_ids(ids, {static_cast<int64_t>(ids.size())});
    const Tensor style(style_, {1, static_cast<int64_t>(style_.size()), 1}), drawn(noise, {1, channels, frames});
    const auto latents = sessions_.at("sovits").run(
        {{"semantic_tokens", &semantic}, {"phoneme_ids", &phoneme_ids}, {"style_embedding", &style}, {"noise", &drawn}},
        {"latents"});
    const auto wave =
        sessions_.at("vocoder").run({{"latents", &latents[0]}, {"style_embedding", &style}}, {"samples"});
    const float* first = wave[0].data<float>();
    std::vector<float> samples(first, first + ort::count(wave[0].shape()));
    float peak = 1;
    for (const float sample : samples) peak = std::max(peak, std::abs(sample));
    for (float& sample : samples) sample /= peak;
    return samples;
  }

 private:
  // (phonemes, 1024): BERT's vector of each character for each of its phonemes; zeros in other languages.
  std::vector<float> features(const json& runs) const {
    std::vector<float> all;
    for (const json& run : runs) {
      if (words_.empty() || run["word2ph"].is_null()) {
        all.resize(all.size() + run["phoneme_ids"].size() * kBertWidth);
        continue;
      }
      std::vector<int64_t> ids = {words_["[CLS]"]};
      for (const std::string& letter : letters(run["text"])) ids.push_back(words_.value(letter, words_["[UNK]"].get<int64_t>()));
      ids.push_back(words_["[SEP]"]);
      const Tensor given(ids, {static_cast<int64_t>(ids.size())});
      const auto hidden = sessions_.at("bert").run({{"ids", &given}}, {"hidden"});
      const float* row = hidden[0].data<float>() + kBertWidth;
      for (const int64_t times : run["word2ph"]) {
        for (int64_t i = 0; i < times; ++i) all.insert(all.end(), row, row + kBertWidth);
        row += kBertWidth;
      }
    }
    return all;
  }

  // Semantic tokens of a fragment, drawn one after the other.
  std::vector<int64_t> draw_tokens(const json& fragment) {
    json runs = voice_["runs"];
    runs.insert(runs.end(), fragment.begin(), fragment.end());
    std::vector<int64_t> ids = phonemes(runs), token = {0}, position = {0}, length = {0};
    std::vector<float> bert = features(runs);
    const int64_t n_ids = ids.size(), n_prompt = prompt_.size(), prefix = n_ids + n_prompt;
    const json& gpt = config_["gpt"];
    const int64_t heads = gpt["heads"], head_dim = gpt["head_dim"], most = gpt["max_new_tokens"];

    std::vector<std::string> names, outputs = {"logits"};
    for (int64_t layer = 0; layer < gpt["layers"]; ++layer) {
      for (const char* part : {"keys_", "values_"}) names.push_back(part + std::to_string(layer));
    }
    outputs.insert(outputs.end(), names.begin(), names.end());
    const Tensor phoneme_ids(ids, {n_ids}), prompt(prompt_, {n_prompt}), given(bert, {n_ids, kBertWidth});
    const auto prefilled = sessions_.at("gpt_prefill").run(
        {{"phoneme_ids", &phoneme_ids}, {"prompt_tokens", &prompt}, {"bert", &given}}, outputs);

    // A cache is read and written in the same memory.
    const int64_t capacity = prefix + most;
    std::vector<std::vector<float>> memory(names.size(), std::vector<float>(heads * capacity * head_dim));
    std::vector<Tensor> caches;
    for (size_t i = 0; i < names.size(); ++i) {
      const float* entries = prefilled[i + 1].data<float>();
      for (int64_t head = 0; head < heads; ++head) {
        std::copy_n(entries + head * prefix * head_dim, prefix * head_dim, &memory[i][head * capacity * head_dim]);
      }
      caches.emplace_back(memory[i], ort::Shape{1, heads, capacity, head_dim});
    }

    std::vector<float> logits(prefilled[0].data<float>(), prefilled[0].data<float>() + gpt["end_token"].get<int>() + 1);
    const Tensor newest(token, {1}), place(position, {1}), filled(length, {1});
    const Tensor output(logits, {1, static_cast<int64_t>(logits.size())});
    std::vector<Input> inputs = {{"tokens", &newest}, {"positions", &place}, {"lengths", &filled}};
    std::vector<void*> values = {output.get()};
    outputs = {"logits"};
    for (size_t i = 0; i < names.size(); ++i) {
      inputs.push_back({names[i], &caches[i]});
      outputs.push_back("new_" + names[i]);
      values.push_back(caches[i].get());
    }

    std::vector<char> seen(logits.size(), 0);
    for (const int64_t said : prompt_) seen[said] = 1;
    std::vector<int64_t> drawn;
    for (int64_t step = 0; step < most; ++step) {
      bool is_over = false;
      token[0] = draw(logits, seen, step >= gpt["min_new_tokens"], is_over);
      if (is_over) break;
      drawn.push_back(token[0]);
      seen[token[0]] = 1;
      position[0] = n_prompt + step;
      length[0] = prefix + step;
      sessions_.at("gpt_step").run_into(inputs, outputs, values);
    }
    return drawn;
  }

  // A token; the last one ends the speech, which is over too when it is the likeliest.
  int64_t draw(std::vector<float> logits, const std::vector<char>& seen, bool may_end, bool& is_over) {
    const float penalty = static_cast<float>(options_["repetition-penalty"]);
    const int64_t end = static_cast<int64_t>(logits.size()) - 1;
    for (int64_t i = 0; i <= end; ++i) {
      if (seen[i]) logits[i] = logits[i] < 0 ? logits[i] * penalty : logits[i] / penalty;
    }
    if (!may_end) logits[end] = -INFINITY;
    std::vector<int64_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
    const float highest = logits[order[0]];

    // The nucleus, then the k likeliest and their equals.
    size_t kept = order.size();
    if (options_["top-p"] < 1) {
      double total = 0, sum = 0;
      for (const float logit : logits) total += std::exp(logit - highest);
      for (kept = 0; kept < order.size(); ++kept) {
        sum += std::exp(logits[order[kept]] - highest);
        if (kept > 0 && sum > options_["top-p"] * total) break;
      }
    }
    const size_t k = std::clamp<size_t>(static_cast<size_t>(std::max(1.0, options_["top-k"])), 1, order.size());
    const float lowest = k <= kept ? logits[order[k - 1]] : -INFINITY;
    const float temperature = static_cast<float>(std::max(options_["temperature"], 1e-5));
    std::vector<float> cumulative;
    float sum = 0;
    for (size_t i = 0; i < kept && logits[order[i]] >= lowest && std::isfinite(logits[order[i]]); ++i) {
      cumulative.push_back(sum += std::exp((logits[order[i]] - highest) / temperature));
    }
    const auto chosen = std::upper_bound(cumulative.begin(), cumulative.end(), uniforms_.uniform() * sum);
    const int64_t index = std::min<int64_t>(chosen - cumulative.begin(), cumulative.size() - 1);
    is_over = order[index] == end || order[0] == end;
    return order[index];
  }

  Options options_;
  json config_, voice_, words_ = json::object();
  Numbers uniforms_, noise_;
  std::vector<float> style_;
  std::vector<int64_t> prompt_;
  std::map<std::string, Session> sessions_;
};

void write_wav(const std::string& path, const std::vector<float>& samples, uint32_t rate_hz) {
  std::string data;
  const auto put = [&data](uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) data += static_cast<char>(value >> (8 * i));
  };
  const uint64_t size = samples.size() * 2;
  data += "RIFF", put(36 + size, 4), data += "WAVEfmt ";
  put(16, 4), put(1, 2), put(1, 2), put(rate_hz, 4), put(2 * rate_hz, 4), put(2, 2), put(16, 2);
  data += "data", put(size, 4);
  for (const float sample : samples) {
    put(static_cast<uint16_t>(static_cast<int16_t>(std::clamp(std::rint(sample * 32768.F), -32768.F, 32767.F))), 2);
  }
  std::ofstream file(path, std::ios::binary);
  if (!file.write(data.data(), data.size()).flush()) throw std::runtime_error(path + " cannot be written");
}

int speak(const std::vector<std::string>& arguments) {
  std::vector<std::string> places;
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].rfind("--", 0) != 0) {
      places.push_back(arguments[i]);
      continue;
    }
    const std::string name = arguments[i].substr(2);
    const bool is_number = options.numbers.count(name) > 0;
    if ((!is_number && !options.files.count(name)) || ++i == arguments.size()) {
      throw std::runtime_error("--" + name + " is not known, or has no value");
    }
    is_number ? void(options.numbers[name] = std::stod(arguments[i])) : void(options.files[name] = arguments[i]);
  }
  if (places.size() != 4) throw std::runtime_error("usage: speak MODEL VOICE TEXT.json OUT.wav [--seed N] ...");
  Speaker speaker(places[0], places[1], options);
  std::vector<float> samples;
  const json text = read_json(places[2]);
  for (const json& fragment : text["fragments"]) {
    const std::vector<float> spoken = speaker.speak(fragment["runs"]);
    samples.insert(samples.end(), spoken.begin(), spoken.end());
    samples.resize(samples.size() + std::lround(fragment["pause_s"].get<double>() * speaker.sample_rate_hz()));
  }
  write_wav(places[3], samples, speaker.sample_rate_hz());
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // before ONNX Runtime is used: it would report to its maker
  try {
    return speak({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
