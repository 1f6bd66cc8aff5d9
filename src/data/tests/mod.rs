mod pillow;
