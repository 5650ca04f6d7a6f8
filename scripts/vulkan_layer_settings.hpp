// What ggml-vulkan.cpp takes from VK_EXT_layer_settings, for Vulkan headers older than 1.3.268
// (Debian 12). Its layer is switched on only for debugging. scripts/gpu_wheel.sh includes this
// file by a compiler flag where the headers need it.
#pragma once
#include <cstdint>
#include <vector>

namespace vk {
enum class LayerSettingTypeEXT : int32_t { eBool32 = 0 };

struct LayerSettingEXT {
    const char * layer;
    const char * name;
    LayerSettingTypeEXT type;
    uint32_t count;
    const void * values;
};

struct LayerSettingsCreateInfoEXT {
    int32_t structure = 1000496000;  // VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT
    const void * next = nullptr;
    uint32_t count;
    const LayerSettingEXT * settings;
    explicit LayerSettingsCreateInfoEXT(const std::vector<LayerSettingEXT> & given)
        : count(static_cast<uint32_t>(given.size())), settings(given.data()) {}
};
}  // namespace vk
