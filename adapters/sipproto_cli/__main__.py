from sipproto_cli._app import main

main()
