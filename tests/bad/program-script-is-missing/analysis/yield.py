print('{"results": {"yield": 50}}')
