import mobilebert_quantization as quantization


def test_public_names_exist_once() -> None:
    assert len(set(quantization.__all__)) == len(quantization.__all__)
    assert all(hasattr(quantization, name) for name in quantization.__all__)
