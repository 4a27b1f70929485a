// ONNX Runtime for C++17: a graph's file in, a session that takes and gives tensors out.
//
// The library is opened at run time, and the few functions that are used are taken from its table by their number.
// ONNX Runtime promises that the table only grows at its end, so that this works with any release since 1.16; no
// header is needed, which neither Debian 12 nor the Python package has. With the headers of a release at hand, its own
// onnxruntime_cxx_api.h does the same in a safer way.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace ort {

// Places in the table OrtApi.
enum Function {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSession = 7,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetIntraOpNumThreads = 24,
  kCreateTensorWithDataAsOrtValue = 49,
  kGetTensorMutableData = 51,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorTypeAndShape = 65,
  kCreateCpuMemoryInfo = 69,
  kReleaseEnv = 92,
  kReleaseStatus = 93,
  kReleaseMemoryInfo = 94,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseTensorTypeAndShapeInfo = 99,
  kReleaseSessionOptions = 100,
};

constexpr uint32_t kApiVersion = 16;
constexpr int kWarning = 2, kArenaAllocator = 1, kDefaultMemory = 0;
using Shape = std::vector<int64_t>;

inline const void* const* open_table(const char* path) {
  struct Base {
    const void* const* (*get_api)(uint32_t version);
    const char* (*get_version)();
  };
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  auto get_base = reinterpret_cast<const Base* (*)()>(dlsym(library, "OrtGetApiBase"));
  if (get_base == nullptr) throw std::runtime_error(std::string(path) + " is not ONNX Runtime");
  const void* const* table = get_base()->get_api(kApiVersion);
  if (table == nullptr) throw std::runtime_error("ONNX Runtime is older than 1.16");
  return table;
}

inline const void* const* table() {
  static const void* const* const opened = open_table(ONNXRUNTIME_LIBRARY);
  return opened;
}

template <typename Result, typename... Arguments>
Result call(Function function, Arguments... arguments) {
  return reinterpret_cast<Result (*)(Arguments...)>(const_cast<void*>(table()[function]))(arguments...);
}

// Calls a function that returns a status, and throws what it says.
template <typename... Arguments>
void check(Function function, Arguments... arguments) {
  void* status = call<void*>(function, arguments...);
  if (status == nullptr) return;
  std::string message = call<const char*>(kGetErrorMessage, static_cast<const void*>(status));
  call<void>(kReleaseStatus, status);
  throw std::runtime_error(message);
}

template <Function release>
struct Release {
  void operator()(void* object) const { call<void>(release, object); }
};
template <Function release>
using Handle = std::unique_ptr<void, Release<release>>;

template <typename T>
struct ElementType;
template <>
struct ElementType<float> {
  static constexpr int value = 1;
};
template <>
struct ElementType<int64_t> {
  static constexpr int value = 7;
};

inline int64_t count(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, [](int64_t a, int64_t b) { return a * b; });
}

// A tensor that ONNX Runtime made, or a view of memory that must outlive it.
class Tensor {
 public:
  explicit Tensor(void* value) : value_(value) {}

  template <typename T>
  Tensor(std::vector<T>& data, const Shape& shape) {
    if (count(shape) != static_cast<int64_t>(data.size())) throw std::runtime_error("a tensor of another size");
    static const Handle<kReleaseMemoryInfo> memory(memory_info());
    void* value = nullptr;
    check(kCreateTensorWithDataAsOrtValue, static_cast<const void*>(memory.get()), static_cast<void*>(data.data()),
          data.size() * sizeof(T), shape.data(), shape.size(), ElementType<T>::value, &value);
    value_.reset(value);
  }

  template <typename T>
  T* data() const {
    void* data = nullptr;
    check(kGetTensorMutableData, value_.get(), &data);
    return static_cast<T*>(data);
  }

  Shape shape() const {
    void* opened = nullptr;
    check(kGetTensorTypeAndShape, static_cast<const void*>(value_.get()), &opened);
    const Handle<kReleaseTensorTypeAndShapeInfo> info(opened);
    size_t rank = 0;
    check(kGetDimensionsCount, static_cast<const void*>(opened), &rank);
    Shape shape(rank);
    check(kGetDimensions, static_cast<const void*>(opened), shape.data(), rank);
    return shape;
  }

  void* get() const { return value_.get(); }

 private:
  static void* memory_info() {
    void* info = nullptr;
    check(kCreateCpuMemoryInfo, kArenaAllocator, kDefaultMemory, &info);
    return info;
  }

  Handle<kReleaseValue> value_;
};

struct Input {
  std::string name;
  const Tensor* tensor;
};

class Session {
 public:
  Session(const std::string& path, int threads) {
    void *options = nullptr, *session = nullptr;
    check(kCreateSessionOptions, &options);
    const Handle<kReleaseSessionOptions> owned(options);
    check(kSetIntraOpNumThreads, options, threads);
    check(kCreateSession, static_cast<const void*>(environment()), path.c_str(), static_cast<const void*>(options),
          &session);
    session_.reset(session);
  }

  // The named outputs, in new memory.
  std::vector<Tensor> run(const std::vector<Input>& inputs, const std::vector<std::string>& outputs) const {
    std::vector<void*> values(outputs.size(), nullptr);
    run_into(inputs, outputs, values);
    std::vector<Tensor> tensors;
    for (void* value : values) tensors.emplace_back(value);
    return tensors;
  }

  // Into memory that is given, which may be that of an input.
  void run_into(const std::vector<Input>& inputs, const std::vector<std::string>& outputs,
                std::vector<void*>& values) const {
    std::vector<const char*> input_names, output_names;
    std::vector<const void*> given;
    for (const Input& input : inputs) {
      input_names.push_back(input.name.c_str());
      given.push_back(input.tensor->get());
    }
    for (const std::string& name : outputs) output_names.push_back(name.c_str());
    check(kRun, session_.get(), static_cast<const void*>(nullptr), input_names.data(), given.data(), given.size(),
          output_names.data(), output_names.size(), values.data());
  }

 private:
  static void* environment() {
    static const Handle<kReleaseEnv> environment = [] {
      void* made = nullptr;
      check(kCreateEnv, kWarning, "speak", &made);
      return Handle<kReleaseEnv>(made);
    }();
    return environment.get();
  }

  Handle<kReleaseSession> session_;
};

}  // namespace ort
