#!/bin/sh
# Builds a wheel of llama-cpp-python with a GPU's backend and llama.cpp's RPC.
#
#   scripts/gpu_wheel.sh cuda [FOLDER]      ARCHITECTURES="80;90" for others than 90, an H100
#   scripts/gpu_wheel.sh vulkan [FOLDER]
#   scripts/gpu_wheel.sh rpc [FOLDER]       RPC alone, for a CPU
#
# FOLDER (dist) gets the wheel. CMake, a C++ compiler and a package index are needed; no GPU.
# CUDA needs nvcc; cuBLAS and the driver's stub, which slim CUDA installations lack, are added, and
# the wheel runs on any x86-64 CPU with AVX2. Vulkan needs Debian's libvulkan-dev, glslc and
# spirv-headers, and mesa-vulkan-drivers for a device without a GPU. Vulkan's and RPC's wheels are
# for CPUs like this machine's.
set -eu

backend=${1:-}
folder=${2:-dist}
python=${PYTHON:-python3}
version=${LLAMA_CPP_PYTHON:-0.3.36}
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-2}
scripts=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cuda() {
    nvcc=$(command -v nvcc) || { echo "nvcc is not on the PATH" >&2; exit 1; }
    export CUDACXX="$nvcc"
    release=$("$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
    # What nvcc itself takes for the toolkit, also where it is a link or a wrapper.
    toolkit=$("$nvcc" --dryrun -x cu -c /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p' | head -n 1)
    toolkit=$(cd "$toolkit" && pwd)

    arguments="-DGGML_CUDA=on -DGGML_RPC=on -DCMAKE_CUDA_ARCHITECTURES=${ARCHITECTURES:-90} -DGGML_NATIVE=off"

    if ! find -L "$toolkit" -name 'libcublas.so' | grep -q .; then
        if [ "$release" -ge 13 ]; then package="nvidia-cublas==$release.*"
        else package="nvidia-cublas-cu$release"; fi
        "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "$package"
        "$python" -m zipfile -e "$work"/nvidia_cublas*.whl "$work/cublas"
        lib=$(dirname "$(find "$work/cublas" -name 'libcublas.so.*')")
        for name in cublas cublasLt; do
            ln -s "$lib/lib$name.so.$release" "$lib/lib$name.so"
            arguments="$arguments -DCUDA_${name}_LIBRARY=$lib/lib$name.so"
        done
        include=$(dirname "$lib")/include
        arguments="$arguments -DCMAKE_CUDA_FLAGS=-I$include -DCMAKE_CXX_FLAGS=-I$include"
    fi

    if ! find -L "$toolkit" -path '*stubs*' -name 'libcuda.so' | grep -q .; then
        # The driver's own library takes its place where the wheel runs.
        for function in GetErrorString DeviceGet DeviceGetAttribute MemGetAllocationGranularity \
            MemCreate MemAddressReserve MemMap MemSetAccess MemUnmap MemAddressFree MemRelease; do
            echo "int cu$function(void) { return 100; }"
        done >"$work/stub.c"
        ${CC:-cc} -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$work/libcuda.so" "$work/stub.c"
        arguments="$arguments -DCUDA_cuda_driver_LIBRARY=$work/libcuda.so"
    fi
}

vulkan() {
    arguments="-DGGML_VULKAN=on $("$python" "$scripts/cmake_args.py")"
    echo '#include <vulkan/vulkan_core.h>' >"$work/headers.c"
    if ! ${CC:-cc} -E -dM "$work/headers.c" | grep -q 'define VK_EXT_layer_settings'; then
        # A flag of the compiler itself, because -DCMAKE_CXX_FLAGS may be taken.
        printf '#!/bin/sh\nexec %s -include %s "$@"\n' \
            "${CXX:-c++}" "$scripts/vulkan_layer_settings.hpp" >"$work/c++"
        chmod +x "$work/c++"
        export CXX="$work/c++"
    fi
}

case $backend in
    cuda) cuda ;;
    vulkan) vulkan ;;
    rpc) arguments=$("$python" "$scripts/cmake_args.py") ;;
    *) echo "usage: $0 cuda|vulkan|rpc [FOLDER]" >&2; exit 2 ;;
esac

export CMAKE_ARGS="$arguments" CMAKE_BUILD_PARALLEL_LEVEL="$jobs"
echo "CMAKE_ARGS=\"$CMAKE_ARGS\"" >&2
# --no-cache-dir: pip would give this wheel to later installations on this machine.
"$python" -m pip wheel --no-cache-dir --no-deps --no-binary llama-cpp-python \
    --wheel-dir "$folder" "llama-cpp-python==$version"
