// A CUDA device without CUDA: torch's own no-op device guard, and hooks that say "there is one device".
// device.py builds this file and calls install() once, after torch has been imported.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;

struct Guard final : c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  Device exchangeDevice(Device) const override { return Device(DeviceType::CUDA, 0); }
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  Stream getStream(Device) const noexcept override { return first(); }
  Stream getNewStream(Device, int = 0) const override { return first(); }
  Stream exchangeStream(Stream) const noexcept override { return first(); }

  static Stream first() { return Stream(Stream::DEFAULT, Device(DeviceType::CUDA, 0)); }
};

struct Hooks final : at::CUDAHooksInterface {
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex getCurrentDevice() const override { return 0; }
};

Guard guard;
Hooks hooks;

}  // namespace

extern "C" void install() {
  c10::impl::device_guard_impl_registry[static_cast<size_t>(DeviceType::CUDA)].store(&guard);
  // The hooks are cached when torch is imported, so the virtual table of that object is replaced.
  auto& cached = const_cast<at::CUDAHooksInterface&>(at::detail::getCUDAHooks());
  *reinterpret_cast<void**>(&cached) = *reinterpret_cast<void**>(&hooks);
}
